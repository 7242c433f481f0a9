//! Which route a request takes: by hostname in each of its spellings, and by path.

use littoral_tests::{Shared, component, refusal, run};

static NODE: Shared = Shared::new();

const HELLO: &str = "Hello from the edge!\n";
const COUNT: &str = "1\n";
const OK: &str = "ok\n";

#[test]
fn a_hostname_is_found_in_each_of_its_spellings() {
    run(async {
        let edge = NODE.edge().await;
        let acme = edge.tenant("names").await;
        acme.version("site", 1, component("hello")).await;
        acme.route("names.test/", "site", None).await.unwrap();
        acme.route("xn--bcher-kva.names.test/", "site", None)
            .await
            .unwrap();
        for host in [
            "names.test",
            "NAMES.Test",
            "names.test:80",
            "names.test:",
            "names.test.",
            "names.test.:8080",
            "xn--bcher-kva.names.test",
            "XN--BCHER-KVA.names.test",
        ] {
            let answer = edge.get(&format!("{host}/")).await;
            assert_eq!(
                (answer.status(), answer.text().as_str()),
                (200, HELLO),
                "{host}"
            );
        }
    });
}

#[test]
fn what_is_no_hostname_is_a_bad_request_and_what_is_unknown_has_no_route() {
    run(async {
        let edge = NODE.edge().await;
        for host in [
            "",
            "a b",
            "a_b.test",
            "-a.test",
            "a-.test",
            "a..test",
            ".",
            "a.test:99999",
            "a.test:x",
            "%41.test",
            "a.test/",
            "user@a.test",
            "xn--a.test",
            "a\u{7f}.test",
            // Names beyond ASCII travel as A-labels (RFC 3986 §3.2.2, RFC 5891 §4.4).
            "b\u{fc}cher.test",
        ] {
            let text = edge
                .raw(format!(
                    "GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
                ))
                .await;
            assert!(text.starts_with("HTTP/1.1 400 "), "{host:?}: {text}");
        }
        for host in [
            "unknown.test",
            "127.0.0.1",
            "127.0.0.1:80",
            "[::1]",
            "[::1]:8080",
        ] {
            let answer = edge.get(&format!("{host}/")).await;
            assert_eq!(
                (answer.status(), answer.reason()),
                (404, "no-route"),
                "{host}"
            );
        }
    });
}

#[test]
fn routes_are_written_in_one_normal_form_and_odd_ones_are_refused() {
    run(async {
        let edge = NODE.edge().await;
        let acme = edge.tenant("written").await;
        acme.version("site", 1, component("hello")).await;
        let token = format!(
            "Bearer {}",
            edge.token(&[control_api::auth::Scope::NodeAdmin], None)
        );
        let put = async |route: &str| {
            let path = format!("/v1/tenants/written/routes/{route}");
            let fields = [
                ("Authorization", token.as_str()),
                ("Content-Type", "application/json"),
            ];
            edge.admin_ask("PUT", &path, &fields, br#"{"module":"site"}"#)
                .await
        };
        let answer = put("B%C3%BCcher.WRITTEN.test.%2FShop").await;
        assert_eq!(answer.status(), 201, "{}", answer.text());
        assert_eq!(answer.json()["id"], "xn--bcher-kva.written.test/Shop");
        for odd in [
            "written.test%3A80%2F",
            "10.0.0.1%2F",
            "a_b.written.test%2F",
            "a.*.written.test%2F",
            "*%2F",
            "%2F",
            "written.test%2Fa%2F..%2Fb",
            "written.test%2Fa%00",
            "written.test%2Fa%3Fb",
        ] {
            let answer = put(odd).await;
            assert_eq!(
                (answer.status(), answer.problem().as_str()),
                (400, "path-invalid"),
                "{odd}: {}",
                answer.text()
            );
        }
    });
}

#[test]
fn exact_goes_before_wildcard_and_a_longer_wildcard_before_a_shorter() {
    run(async {
        let edge = NODE.edge().await;
        let acme = edge.tenant("wild").await;
        acme.version("exact", 1, component("hello")).await;
        acme.version("longer", 1, component("remembers")).await;
        acme.version("shorter", 1, component("spins-forever")).await;
        acme.route("a.b.wild.test/", "exact", None).await.unwrap();
        acme.route("*.b.wild.test/", "longer", None).await.unwrap();
        acme.route("*.wild.test/", "shorter", None).await.unwrap();
        for (place, text) in [
            ("a.b.wild.test/ok", HELLO),
            ("c.b.wild.test/ok", COUNT),
            ("c.a.b.wild.test/ok", COUNT),
            ("b.wild.test/ok", OK),
            ("c.wild.test/ok", OK),
        ] {
            assert_eq!(edge.get(place).await.text(), text, "{place}");
        }
        assert_eq!(edge.get("wild.test/ok").await.reason(), "no-route");
    });
}

#[test]
fn the_longest_prefix_of_whole_segments_wins() {
    run(async {
        let edge = NODE.edge().await;
        let acme = edge.tenant("paths").await;
        acme.version("root", 1, component("hello")).await;
        acme.version("api", 1, component("remembers")).await;
        acme.version("deep", 1, component("spins-forever")).await;
        acme.route("paths.test/", "root", None).await.unwrap();
        acme.route("paths.test/api", "api", None).await.unwrap();
        acme.route("paths.test/ok", "deep", None).await.unwrap();
        for (place, text) in [
            ("paths.test/", HELLO),
            ("paths.test/apix", HELLO),
            ("paths.test/API", HELLO),
            ("paths.test/x/api", HELLO),
            ("paths.test/api", COUNT),
            ("paths.test/api/", COUNT),
            ("paths.test/api?x=/ok", COUNT),
            ("paths.test/api/x", COUNT),
            ("paths.test/ok", OK),
        ] {
            assert_eq!(edge.get(place).await.text(), text, "{place}");
        }
        // A hostname without a prefix that covers the path leaves the request to the wildcard above it.
        acme.route("*.paths.test/", "root", None).await.unwrap();
        acme.route("sub.paths.test/api", "api", None).await.unwrap();
        assert_eq!(edge.get("sub.paths.test/api").await.text(), COUNT);
        assert_eq!(edge.get("sub.paths.test/other").await.text(), HELLO);
    });
}

#[test]
fn a_hostname_belongs_to_one_tenant_at_a_time() {
    run(async {
        let edge = NODE.edge().await;
        let (one, two) = (edge.tenant("held-one").await, edge.tenant("held-two").await);
        for tenant in [&one, &two] {
            tenant.version("site", 1, component("hello")).await;
        }
        one.route("held.test/", "site", None).await.unwrap();
        one.route("*.deep.held.test/", "site", None).await.unwrap();
        for taken in [
            "held.test/",
            "held.test/other",
            "a.deep.held.test/",
            "*.held.test/",
            "*.deep.held.test/x",
        ] {
            assert_eq!(
                refusal(two.route(taken, "site", None).await),
                "host-taken",
                "{taken}"
            );
        }
        two.route("free.held.test/", "site", None).await.unwrap();
        one.unroute("held.test/").await.unwrap();
        two.route("held.test/", "site", None).await.unwrap();
    });
}

#[test]
fn a_tenant_routes_only_the_hostnames_that_it_is_allowed() {
    run(async {
        let edge = NODE.edge().await;
        let write = control_api::view::TenantWrite {
            hosts: vec![
                "allowed.test".parse().unwrap(),
                "*.wild-allowed.test".parse().unwrap(),
            ],
            ..Default::default()
        };
        let acme = edge.tenant_with("allowed", &write).await;
        acme.version("site", 1, component("hello")).await;
        for good in [
            "allowed.test/",
            "a.wild-allowed.test/",
            "*.wild-allowed.test/x",
        ] {
            acme.route(good, "site", None).await.unwrap();
        }
        for bad in [
            "other.test/",
            "a.allowed.test/",
            "wild-allowed.test/",
            "*.allowed.test/",
        ] {
            assert_eq!(
                refusal(acme.route(bad, "site", None).await),
                "host-not-allowed",
                "{bad}"
            );
        }
    });
}

/// Routes are kept in one normal form; requests may spell the same path otherwise.
#[test]
fn a_path_is_found_by_each_of_its_spellings() {
    run(async {
        let edge = NODE.edge().await;
        let acme = edge.tenant("spelled").await;
        acme.version("site", 1, component("hello")).await;
        acme.route("spelled.test/caf%C3%A9", "site", None)
            .await
            .unwrap();
        for (path, status) in [
            ("caf%C3%A9", 200),
            ("caf%c3%a9/menu", 200),
            ("%63af%c3%A9?x=%zz", 200),
            ("caf%c3", 404),
            ("caf%c3%a9s", 404),
        ] {
            let answer = edge.get(&format!("spelled.test/{path}")).await;
            assert_eq!(answer.status(), status, "{path}");
        }
    });
}
