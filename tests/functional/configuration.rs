//! The configuration: what is refused and how, what is printed, and where the admin API listens.

use std::process::{Command, Output};

use littoral_tests::{TestEdge, littorald, run};

/// Runs the daemon with a configuration and variables.
fn daemon(command: &str, config: &str, variables: &[(&str, &str)]) -> Output {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("littoral.toml");
    std::fs::write(&path, config).unwrap();
    Command::new(littorald())
        .args([command, "--config", path.to_str().unwrap()])
        .env_clear()
        .envs(variables.iter().copied())
        .output()
        .unwrap()
}

#[test]
fn a_refused_configuration_ends_with_78_and_names_key_value_and_range() {
    for (config, key, value, allowed) in [
        ("[http]\nthreads = 1000", "http.threads", "1000", "256"),
        ("[http]\nthreds = 2", "http.threds", "threds", "threads"),
        (
            "[uploads]\nduration_ms_max = \"5s\"",
            "uploads.duration_ms_max",
            "5s",
            "1000 to 3600000",
        ),
        (
            "[admin]\nlisten = \"0.0.0.0:7400\"",
            "admin.listen",
            "0.0.0.0:7400",
            "loopback",
        ),
        (
            "[limits]\nkept_versions_max = 0",
            "limits.kept_versions_max",
            "0",
            "1 to 100",
        ),
        (
            "[http]\nthreads = 200",
            "http.threads",
            "200",
            "at most 128 sockets",
        ),
        ("nonsense", "line 1", "nonsense", ""),
    ] {
        for command in ["check-config", "run"] {
            let output = daemon(command, config, &[]);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(
                output.status.code(),
                Some(78),
                "{command} {config:?}: {said}"
            );
            for wanted in [key, allowed] {
                assert!(said.contains(wanted), "{command} {config:?}: {said}");
            }
            assert!(
                said.contains(value) || key.starts_with("line"),
                "{command} {config:?}: {said}"
            );
        }
    }
}

#[test]
fn every_mistake_is_reported_at_once() {
    let output = daemon(
        "check-config",
        "[http]\nthreads = 1000\nport = 1\n[log]\nlevel = \"loud\"",
        &[],
    );
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    for wanted in ["http.threads", "http.port", "log.level"] {
        assert!(said.contains(wanted), "{said}");
    }
}

#[test]
fn check_config_prints_the_resolved_whole_with_the_environment_on_top() {
    let output = daemon(
        "check-config",
        "[http]\nthreads = 1",
        &[("LITTORAL_HTTP_THREADS", "3")],
    );
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success());
    assert!(
        printed.contains("threads = 3") && printed.contains("duration_ms_max = 120000"),
        "{printed}"
    );
    // What it prints is itself a configuration, and the same one.
    let again = daemon("check-config", &printed, &[]);
    assert_eq!(String::from_utf8(again.stdout).unwrap(), printed);

    let unknown = daemon("check-config", "", &[("LITTORAL_HTTP_THREDS", "3")]);
    assert_eq!(unknown.status.code(), Some(78));
    let said = String::from_utf8_lossy(&unknown.stderr).into_owned();
    assert!(
        said.contains("LITTORAL_HTTP_THREDS") && said.contains("THREADS"),
        "{said}"
    );
}

#[test]
fn check_config_prints_json_for_programs() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("littoral.toml");
    std::fs::write(&path, "[http]\nthreads = 3\n").unwrap();
    let output = Command::new(littorald())
        .args(["check-config", "--json", "--config", path.to_str().unwrap()])
        .env_clear()
        .output()
        .unwrap();
    assert!(output.status.success());
    let printed: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(printed["http"]["threads"], 3);
    assert_eq!(printed["uploads"]["duration_ms_max"], 120_000);
    assert_eq!(printed["limits"]["modules_max"], 32);
}

#[test]
fn a_node_serves_on_as_many_sockets_as_are_allowed() {
    run(async {
        let edge = TestEdge::build().set("http.threads", 128).start().await;
        assert_eq!(edge.get("nobody.test/").await.status(), 404);
    });
}

#[test]
fn a_wrong_command_line_ends_with_2() {
    let output = Command::new(littorald())
        .args(["run", "--nonsense"])
        .env_clear()
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn the_unix_socket_is_for_user_and_group_and_replaces_a_stale_one() {
    use std::os::unix::fs::PermissionsExt as _;
    run(async {
        let mut edge = TestEdge::start().await;
        let socket = edge.admin();
        let path = socket.strip_prefix("unix:").unwrap();
        let mode = std::fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o660, "{mode:o}");
        assert_eq!(
            edge.admin_ask("GET", "/healthz", &[], b"").await.status(),
            200
        );
        // kill -9 leaves the file; the next start listens there all the same.
        edge.kill_control();
        assert!(std::fs::exists(path).unwrap());
        edge.start_again().await;
        assert_eq!(
            edge.admin_ask("GET", "/readyz", &[], b"").await.status(),
            200
        );
    });
}
