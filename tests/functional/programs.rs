//! Guests that people already have: Spin's, and plain programs without any SDK.

use littoral_tests::{Shared, component, refusal, run};
use serde_json::json;

static NODE: Shared = Shared::new();

#[test]
fn programs_of_spins_sdks_run_as_they_are_and_are_told_where_a_request_came_in() {
    run(async {
        let edge = NODE.edge().await;
        let acme = edge.tenant("spin").await;
        for guest in ["spin5-hello", "spin7-hello"] {
            acme.guest(guest).await;
            let asked = edge.ask("GET", &format!("{guest}.spin.test/a/b?c=d"));
            // A client has no say in it.
            let asked = asked.header("spin-full-url", "http://evil.test/");
            let answer = asked.send().await;
            assert_eq!(answer.status(), 200);
            assert_eq!(answer.text(), "Hello from WebAssembly!");
        }
        edge.status().await;
        let lines = acme.logs().await;
        for guest in ["spin5-hello", "spin7-hello"] {
            let line = lines.iter().find(|line| line.module == guest).unwrap();
            let url = format!("http://{guest}.spin.test/a/b?c=d");
            let begins = line.text.starts_with("Handling request to Some(");
            assert!(begins && line.text.contains(&url), "{}", line.text);
        }
    });
}

#[test]
fn a_plain_program_serves_a_request_in_the_manner_of_cgi() {
    run(async {
        let edge = NODE.edge().await;
        let acme = edge.tenant("plain").await;
        acme.guest("core-module").await;
        let hello = edge.get("core-module.plain.test/").await;
        assert_eq!(hello.status(), 200);
        assert_eq!(
            hello.header("content-type"),
            Some("text/plain; charset=utf-8")
        );
        assert_eq!(hello.text(), "Hello from a core module.\n");
        for guest in ["cgi", "cgi-p2"] {
            let version = acme.version(guest, 1, component(guest)).await;
            assert_eq!(version.world, "wasi:cli/command@0.2");
            let place = format!("{guest}.plain.test/bin");
            acme.route(&place, guest, None).await.unwrap();
            let asked = |method: &str, rest: &str| edge.ask(method, &format!("{place}{rest}"));

            let shown = asked("GET", "/a%20b?status=418&x").header("Accept", "text/plain");
            let shown = shown.header("Proxy", "http://evil.test").send().await;
            assert_eq!(shown.status(), 418);
            assert_eq!(shown.header("x-made-by"), Some("cgi"));
            assert_eq!(shown.header("status"), None);
            let text = shown.text();
            for line in [
                "GATEWAY_INTERFACE=CGI/1.1",
                "HTTP_ACCEPT=text/plain",
                "PATH_INFO=/a b",
                "QUERY_STRING=status=418&x",
                "REMOTE_ADDR=127.0.0.1",
                "REQUEST_METHOD=GET",
                "REQUEST_URI=/bin/a%20b?status=418&x",
                "SCRIPT_NAME=/bin",
                "SERVER_NAME=",
                "SERVER_PROTOCOL=HTTP/1.1",
            ] {
                assert!(
                    text.lines().any(|shown| shown.starts_with(line)),
                    "{line}\n{text}"
                );
            }
            assert!(!text.contains("evil"), "{text}");

            let body = vec![b'x'; 300_000];
            let echoed = asked("POST", "?echo").body(body.clone()).send().await;
            assert_eq!((echoed.status(), echoed.body), (200, body));
            let moved = asked("GET", "?moved").send().await;
            assert_eq!(moved.status(), 302);
            assert_eq!(moved.header("location"), Some("/elsewhere"));
            let plain = asked("GET", "?plain").send().await;
            assert_eq!(plain.text(), "Hello, without a head.\n");
            let flood = asked("GET", "?flood=3000000").send().await;
            assert_eq!(flood.body.len(), 3_000_000);
            for (query, reason) in [
                ("?silent", "no-response"),
                ("?bad", "trap"),
                ("?status=99", "trap"),
                ("?exit=3", "trap"),
            ] {
                let answer = asked("GET", query).send().await;
                assert_eq!((answer.status(), answer.reason()), (502, reason), "{query}");
            }
            assert_eq!(asked("GET", "?exit=0").send().await.reason(), "no-response");
        }
        let lines = acme.logs().await;
        let said = |text: &str| lines.iter().any(|line| line.text.contains(text));
        for text in [
            "asked for /bin/a%20b?status=418&x",
            // WASI 0.2 knows success and failure; which number it was stays with the program.
            "the program exited with status 1",
            "the program's `Status` is \"99 Made here\"; allowed: 200 to 599",
            "the program's head has a line that is no field: \"not a field\"",
        ] {
            assert!(said(text), "{text}\n{lines:#?}");
        }
        let reuse = acme.instances("cgi", json!({"mode": "reuse"})).await;
        assert_eq!(refusal(reuse), "value-invalid");
    });
}
