use super::*;

fn found(written: &str) -> Found {
    match look(written.as_bytes()).unwrap() {
        Look::Head(found) => found,
        Look::Unfinished => panic!("{written:?} is unfinished"),
    }
}

fn refused(written: &str) -> String {
    match look(written.as_bytes()) {
        Ok(_) => panic!("{written:?} was taken"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_head_is_fields_an_empty_line_and_one_of_three_names() {
    for (written, status, bytes) in [
        ("Content-Type: text/html\n\nbody", 200, 25),
        ("Status: 404 Not here\r\nX-A: b\r\n\r\nbody", 404, 32),
        ("status:201\n\n", 201, 12),
        ("Location: /x\n\n", 302, 14),
        ("Location: /x\nStatus: 307\n\n", 307, 26),
    ] {
        let found = found(written);
        assert_eq!(
            (found.status.as_u16(), found.bytes),
            (status, bytes),
            "{written:?}"
        );
        assert!(!found.fields.contains_key("status"));
    }
}

#[test]
fn what_has_no_head_is_a_body_in_plain_text() {
    for written in [
        "Hello, world\n",
        "Hello, world: without an end",
        "\n",
        "note: this is prose\n\nand so is this",
        ": x",
        "<html>",
    ] {
        let found = found(written);
        assert_eq!(
            (found.status, found.bytes),
            (StatusCode::OK, 0),
            "{written:?}"
        );
        assert_eq!(found.fields[CONTENT_TYPE], "text/plain; charset=utf-8");
    }
}

#[test]
fn what_may_become_a_head_is_waited_for() {
    for written in [
        "",
        "Content",
        "Content-Type:",
        "Content-Type: text/plain\n",
        "note: x\n",
    ] {
        assert!(
            matches!(look(written.as_bytes()), Ok(Look::Unfinished)),
            "{written:?}"
        );
    }
}

#[test]
fn a_head_that_is_wrong_says_where() {
    let said = refused("Content-Type: a\nnot a field\n\n");
    assert_eq!(
        said,
        "the program's head has a line that is no field: \"not a field\""
    );
    for wrong in ["100", "99", "600", "2000", "abc", ""] {
        let said = refused(&format!("Status: {wrong}\n\n"));
        assert_eq!(
            said,
            format!("the program's `Status` is {wrong:?}; allowed: 200 to 599, and words after it")
        );
    }
    let long = "x".repeat(HEAD_BYTES_MAX);
    let said = refused(&format!("Status: 200\nX-Long: {long}"));
    assert_eq!(said, "the program's head is longer than 65536 bytes");
    assert_eq!(found(&format!("x-long: {long}")).bytes, 0);
}

#[test]
fn a_program_sees_its_request_and_not_what_a_client_would_have_it_take_for_settings() {
    let request = Request::builder()
        .method("POST")
        .uri("http://acme.test:8080/cgi/a%20b?x=1&y")
        .header("content-type", "text/plain")
        .header("content-length", "3")
        .header("accept", "a")
        .header("accept", "b")
        .header("proxy", "http://evil")
        .header("spin-component-route", "/cgi")
        .header("spin-path-info", "/a%20b")
        .header("spin-client-addr", "[2001:db8::1]:4711")
        .body(())
        .unwrap();
    let variables = environment(&request.into_parts().0);
    let of = |wanted: &str| {
        let found = variables.iter().find(|(name, _)| name == wanted);
        found.map(|(_, value)| value.as_str())
    };
    for (name, value) in [
        ("GATEWAY_INTERFACE", "CGI/1.1"),
        ("REQUEST_METHOD", "POST"),
        ("REQUEST_URI", "/cgi/a%20b?x=1&y"),
        ("SCRIPT_NAME", "/cgi"),
        ("PATH_INFO", "/a b"),
        ("QUERY_STRING", "x=1&y"),
        ("SERVER_NAME", "acme.test"),
        ("SERVER_PORT", "8080"),
        ("REMOTE_ADDR", "2001:db8::1"),
        ("CONTENT_TYPE", "text/plain"),
        ("CONTENT_LENGTH", "3"),
        ("HTTP_ACCEPT", "a, b"),
    ] {
        assert_eq!(of(name), Some(value), "{name}");
    }
    for name in [
        "HTTP_PROXY",
        "HTTP_CONTENT_TYPE",
        "HTTP_SPIN_PATH_INFO",
        "HTTPS",
    ] {
        assert_eq!(of(name), None, "{name}");
    }
}
