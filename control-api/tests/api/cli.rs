//! The command line, run as a program against a node.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Output;
use std::sync::{Arc, Mutex};

use edge_config::TenantName;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::time::timeout;

use crate::support::{NODE, PATIENCE, Setup, TestNode, component};

struct Shell {
    node: TestNode,
    admin: String,
    folder: PathBuf,
}

fn now() -> u64 {
    control_api::auth::system_clock()()
}

impl Shell {
    /// A node by the real clock, which the command line signs by, with an issuer's key and an operator's token in files.
    async fn start() -> Self {
        let setup = Setup {
            now: now(),
            ..Setup::default()
        };
        let node = TestNode::start_with(setup).await;
        let folder = node.folder.path().to_owned();
        node.issuer.write_new(&folder.join("issuer.pem")).unwrap();
        std::fs::write(folder.join("token"), node.admin_token()).unwrap();
        std::fs::write(folder.join("hello.wasm"), component(b"hello")).unwrap();
        Self {
            admin: node.url(""),
            node,
            folder,
        }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_littoral"));
        command
            .args(args)
            .current_dir(&self.folder)
            .env_clear()
            .env("LITTORAL_ADMIN", &self.admin)
            .env("LITTORAL_TOKEN_FILE", self.folder.join("token"))
            .kill_on_drop(true);
        command
    }

    async fn run(&self, line: &str) -> Output {
        let args: Vec<_> = line.split_whitespace().collect();
        timeout(PATIENCE, self.command(&args).output())
            .await
            .expect("the command ends")
            .unwrap()
    }

    /// Runs a command that succeeds; gives its standard output.
    async fn ok(&self, line: &str) -> String {
        let output = self.run(line).await;
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{line}: {stderr}");
        assert!(
            stderr.is_empty(),
            "{line}: nothing is said to nobody: {stderr}"
        );
        String::from_utf8(output.stdout).unwrap()
    }

    async fn json(&self, line: &str) -> Value {
        let stdout = self.ok(&format!("{line} --output json")).await;
        serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{line}: {error}: {stdout}"))
    }

    /// Runs a command that fails with this exit code; gives its standard error.
    async fn fails(&self, line: &str, code: i32) -> String {
        let output = self.run(line).await;
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{line}: {stderr}");
        assert!(output.stdout.is_empty(), "{line}");
        stderr
    }

    /// A tenant `acme` with a publisher whose key is in `publisher.pem`.
    async fn tenant(&self) {
        self.ok("tenant create acme").await;
        self.ok("keygen publisher.pem").await;
        self.ok("key add --tenant acme publisher.pem").await;
    }
}

const DEPLOY: &str =
    "deploy hello.wasm --tenant acme --module hello --host hello.localhost --key publisher.pem";

#[tokio::test]
async fn from_nothing_to_a_url() {
    let shell = Shell::start().await;
    let key = shell.json("keygen publisher.pem --jwks public.json").await;
    let mode = std::fs::metadata(shell.folder.join("publisher.pem")).unwrap();
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o777,
        0o600
    );
    let jwks: Value =
        serde_json::from_slice(&std::fs::read(shell.folder.join("public.json")).unwrap()).unwrap();
    assert_eq!(jwks["keys"][0], key);

    shell.ok("tenant create acme --limit modules_max=5").await;
    shell.ok("key add --tenant acme publisher.pem").await;
    assert_eq!(shell.ok(DEPLOY).await, "http://hello.localhost:8080/\n");
    let module = shell.json("module show --tenant acme hello").await;
    assert_eq!(module["versions"][0]["kid"], key["kid"]);
    let first = module["active_version"].as_u64().unwrap();
    assert!(first.abs_diff(now()) < 600, "{first}");

    // At once again: the version still rises.
    std::fs::write(shell.folder.join("hello.wasm"), component(b"second")).unwrap();
    let again = shell.json(DEPLOY).await;
    assert!(again["version"]["version"].as_u64().unwrap() > first);
    assert_eq!(again["created"], true);
    assert_eq!(again["url"], "http://hello.localhost:8080/");
    assert_eq!(again["route"]["id"], "hello.localhost/");
}

#[tokio::test]
async fn a_version_ahead_of_the_clock_is_still_passed() {
    let shell = Shell::start().await;
    shell.tenant().await;
    let ahead = now() + 1_000_000;
    shell.ok(&format!("{DEPLOY} --version {ahead}")).await;
    std::fs::write(shell.folder.join("hello.wasm"), component(b"second")).unwrap();
    let next = shell.json(DEPLOY).await;
    assert_eq!(next["version"]["version"], ahead + 1);
}

#[tokio::test]
async fn a_publisher_with_only_the_deploy_scope_can_deploy() {
    let shell = Shell::start().await;
    shell.tenant().await;
    let line =
        format!("token create --key issuer.pem --audience {NODE} --scope deploy --tenant acme");
    let token = shell.ok(&line).await;
    std::fs::write(shell.folder.join("token"), token).unwrap();
    assert_eq!(shell.ok(DEPLOY).await, "http://hello.localhost:8080/\n");
}

#[tokio::test]
async fn a_dry_run_deploys_nothing() {
    let shell = Shell::start().await;
    shell.tenant().await;
    let line = format!("{DEPLOY} --dry-run");
    let answer = shell.json(&line).await;
    assert_eq!(answer["upload"]["accepted"], true);
    assert!(
        shell
            .ok(&line)
            .await
            .contains("wasi:http/types@0.2.4  granted")
    );
    shell.fails("module show --tenant acme hello", 1).await;
    std::fs::write(shell.folder.join("hello.wasm"), "text").unwrap();
    let refused = shell.run(&line).await;
    assert_eq!(refused.status.code(), Some(1), "a script can tell");
    let text = String::from_utf8(refused.stdout).unwrap();
    assert!(
        text.contains("The bytes are not a WebAssembly component"),
        "{text}"
    );
}

#[tokio::test]
async fn a_refused_deploy_says_why() {
    let shell = Shell::start().await;
    shell.tenant().await;
    std::fs::write(shell.folder.join("hello.wasm"), "text").unwrap();
    let stderr = shell.fails(DEPLOY, 1).await;
    assert!(
        stderr.contains("The bytes are not a WebAssembly component"),
        "{stderr}"
    );
    shell
        .fails("route show --tenant acme hello.localhost/", 1)
        .await;
}

#[tokio::test]
async fn a_problem_shows_title_detail_and_request_id() {
    let shell = Shell::start().await;
    let stderr = shell.fails("tenant show nobody", 1).await;
    let lines: Vec<_> = stderr.lines().collect();
    assert_eq!(lines[0], "littoral: No such tenant");
    assert_eq!(lines[1], "  there is no tenant `nobody`");
    let id = lines[2].strip_prefix("  request id: ").unwrap();
    assert_eq!(id.len(), 32);

    let stderr = shell.fails("tenant show nobody --output json", 1).await;
    let problem: Value = serde_json::from_str(&stderr).unwrap();
    assert_eq!(problem["status"], 404);
    assert!(problem["request_id"].is_string());
}

#[tokio::test]
async fn exit_codes_tell_what_went_wrong() {
    let mut shell = Shell::start().await;
    shell.fails("tenant show", 2).await;
    shell.fails("tenant show No!", 2).await;
    shell
        .fails("tenant create acme --limit nonsense=1", 2)
        .await;
    shell.fails("status --admin nonsense", 2).await;
    shell.fails("status --token-file missing", 4).await;
    shell.fails("keygen issuer.pem", 4).await;
    shell
        .fails(
            "token create --key hello.wasm --audience n --scope node:read",
            4,
        )
        .await;
    shell
        .fails(
            "token create --key issuer.pem --audience n --scope deploy",
            2,
        )
        .await;
    shell
        .fails("token create --key issuer.pem --audience n --scope all", 2)
        .await;
    std::fs::write(shell.folder.join("token"), "x").unwrap();
    shell.fails("status", 1).await;

    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    shell.admin = format!("http://{}", closed.local_addr().unwrap());
    drop(closed);
    let stderr = shell.fails("status", 3).await;
    assert!(
        stderr.starts_with("littoral: The node does not answer"),
        "{stderr}"
    );
    let stderr = shell.fails("status --output json", 3).await;
    let failure: Value = serde_json::from_str(&stderr).unwrap();
    assert_eq!(failure["exit_code"], 3);
}

#[tokio::test]
async fn something_else_that_answers_is_told_apart() {
    let mut shell = Shell::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    shell.admin = format!("http://{}", listener.local_addr().unwrap());
    let other = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await.unwrap();
            let page =
                "HTTP/1.1 404 Not Found\r\ncontent-length: 6\r\nconnection: close\r\n\r\n<html>";
            stream.write_all(page.as_bytes()).await.unwrap();
        }
    });
    shell.fails("status", 5).await;
    other.abort();
}

#[tokio::test]
async fn the_token_may_come_from_the_environment() {
    let shell = Shell::start().await;
    let run = async |token: &str, file: Option<&str>| {
        let mut args = vec!["status", "--output", "json"];
        args.extend(file.map(|file| ["--token-file", file]).iter().flatten());
        let output = shell.command(&args).env("LITTORAL_TOKEN", token).output();
        timeout(PATIENCE, output)
            .await
            .unwrap()
            .unwrap()
            .status
            .code()
    };
    assert_eq!(run(&shell.node.admin_token(), None).await, Some(0));
    assert_eq!(run("wrong", None).await, Some(1));
    // What is said on the command line comes first.
    assert_eq!(run("wrong", Some("token")).await, Some(0));
}

#[tokio::test]
async fn a_tenants_settings_change_one_by_one() {
    let shell = Shell::start().await;
    shell
        .ok("tenant create acme --limit modules_max=5 --host *.acme.test --host acme.test")
        .await;
    shell.fails("tenant create acme", 1).await;
    let changed = shell
        .json("tenant set acme --limit routes_max=7 --suspended true")
        .await;
    assert_eq!(changed["limits"]["modules_max"], 5);
    assert_eq!(changed["limits"]["routes_max"], 7);
    assert_eq!(changed["hosts"].as_array().unwrap().len(), 2);
    assert_eq!(changed["suspended"], true);
    let changed = shell
        .json("tenant set acme --limit modules_max= --any-host")
        .await;
    assert_eq!(changed["effective_limits"]["modules_max"], 32);
    assert_eq!(changed["hosts"].as_array().unwrap().len(), 0);
}

#[tokio::test]
async fn a_modules_instances_are_shown_and_set() {
    let shell = Shell::start().await;
    shell.tenant().await;
    shell.ok(DEPLOY).await;
    let line = "module instances --tenant acme hello";
    assert_eq!(shell.ok(line).await, "instances  fresh\n");
    let set = shell
        .json(&format!("{line} --reuse 9 --idle-ms 500 --memory-mib 64"))
        .await;
    let wanted = serde_json::json!({
        "mode": "reuse", "requests_max": 9, "idle_ms_max": 500, "concurrency_max": 1, "memory_mib_max": 64,
    });
    assert_eq!(set, wanted);
    assert_eq!(shell.json(line).await, wanted);
    let text = shell.ok(line).await;
    for shown in ["reuse", "9", "500 ms", "64 MiB"] {
        assert!(text.contains(shown), "{text}");
    }
    assert!(
        shell
            .ok("module list --tenant acme")
            .await
            .contains("reuse")
    );

    // What is not said is at its default again; a count is not needed.
    let set = shell.json(&format!("{line} --reuse --idle-ms 100")).await;
    assert_eq!(
        (&set["requests_max"], &set["memory_mib_max"]),
        (&128.into(), &32.into())
    );
    let stderr = shell
        .fails(&format!("{line} --reuse --concurrency 2"), 1)
        .await;
    assert!(stderr.contains("one request at a time"), "{stderr}");
    for nonsense in [
        "--fresh --reuse",
        "--idle-ms 5",
        "--fresh --concurrency 2",
        "--reuse many",
    ] {
        shell.fails(&format!("{line} {nonsense}"), 2).await;
    }
    let set = shell.json(&format!("{line} --fresh")).await;
    assert_eq!(set, serde_json::json!({"mode": "fresh"}));
}

#[tokio::test]
async fn logs_are_followed_line_by_line() {
    let shell = Shell::start().await;
    shell.tenant().await;
    let acme: TenantName = "acme".parse().unwrap();
    shell.node.plane.write_line(&acme, "first\u{1b}[2J");
    let text = shell.ok("logs acme").await;
    assert!(
        text.ends_with("out  hello r first\u{fffd}[2J\n"),
        "{text:?}"
    );

    let mut child = shell
        .command(&["logs", "acme", "--follow", "--output", "json"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = tokio::io::BufReader::new(child.stdout.take().unwrap());
    let mut next = async || {
        let mut line = String::new();
        timeout(
            PATIENCE,
            tokio::io::AsyncBufReadExt::read_line(&mut stdout, &mut line),
        )
        .await
        .unwrap()
        .unwrap();
        serde_json::from_str::<Value>(&line).unwrap()["seq"].clone()
    };
    assert_eq!(next().await, 1);
    shell.node.plane.write_line(&acme, "second");
    assert_eq!(next().await, 2);
    drop(stdout);
    // Whoever read has left: the program ends, without an error and without waiting for a line that may never come.
    let status = timeout(PATIENCE, child.wait()).await.unwrap().unwrap();
    assert_eq!(status.code(), Some(0));
}

/// `script` (Debian's essential package bsdutils) gives the program a terminal and writes what appears there.
#[tokio::test]
async fn a_terminal_shows_how_a_deployment_goes_on() {
    let shell = Shell::start().await;
    shell.tenant().await;
    std::fs::write(shell.folder.join("hello.wasm"), component(&[7; 100_000])).unwrap();
    let line = format!("{} {DEPLOY}", env!("CARGO_BIN_EXE_littoral"));
    let output = Command::new("script")
        .args(["--quiet", "--return", "--command", &line, "typescript"])
        .current_dir(&shell.folder)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("LITTORAL_ADMIN", &shell.admin)
        .env("LITTORAL_TOKEN_FILE", shell.folder.join("token"))
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = timeout(PATIENCE, output).await.unwrap().unwrap();
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{shown}");
    // The fake plane's job waits, then compiles, then is done: one look each.
    let mut rest = shown.as_str();
    for wanted in [
        "sent 98 of 98 KiB (100 %)",
        "waiting for the compiler, 1 ahead",
        "compiling for 0 s",
        "http://hello.localhost:8080/",
    ] {
        let (_, after) = rest
            .split_once(wanted)
            .unwrap_or_else(|| panic!("{wanted}: {shown:?}"));
        rest = after;
    }
}

#[tokio::test]
async fn completions_know_the_commands() {
    let shell = Shell::start().await;
    for name in ["bash", "zsh", "fish"] {
        assert!(
            shell
                .ok(&format!("completions {name}"))
                .await
                .contains("deploy"),
            "{name}"
        );
    }
}

#[tokio::test]
async fn the_manual_has_a_page_for_every_command() {
    let shell = Shell::start().await;
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("man1");
    shell.ok(&format!("manual {}", to.display())).await;
    for page in ["littoral", "littoral-deploy", "littoral-tenant-create"] {
        let text = std::fs::read_to_string(to.join(format!("{page}.1"))).unwrap();
        let title = format!(".TH {page} 1");
        assert!(text.contains(&title), "{page}: {text}");
    }
    let pages = std::fs::read_dir(&to).unwrap().count();
    assert!(pages > 30, "{pages}");
}

#[tokio::test]
async fn a_minted_token_says_what_was_asked() {
    let shell = Shell::start().await;
    let line = format!(
        "token create --key issuer.pem --audience {NODE} --scope read --scope deploy --tenant acme --lifetime 5m"
    );
    let made = shell.json(&line).await;
    assert!(made["expires_at"].as_u64().unwrap().abs_diff(now() + 300) < 60);
    let token = made["token"].as_str().unwrap();
    shell.node.tenant("acme").await;
    let ask = |path: &str| {
        shell
            .node
            .http
            .get(shell.node.url(path))
            .bearer_auth(token)
            .send()
    };
    assert_eq!(ask("/v1/tenants/acme/usage").await.unwrap().status(), 200);
    assert_eq!(ask("/v1/status").await.unwrap().status(), 403);
}

/// Passes bytes on, and notes the request lines among them.
async fn eavesdrop(node: SocketAddr) -> (SocketAddr, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&heard);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let notes = Arc::clone(&notes);
            tokio::spawn(async move {
                let server = TcpStream::connect(node).await.unwrap();
                let (mut from_client, mut to_client) = client.into_split();
                let (mut from_server, mut to_server) = server.into_split();
                let there = async {
                    let mut chunk = [0; 16 * 1024];
                    while let Ok(count @ 1..) = from_client.read(&mut chunk).await {
                        // A request begins a chunk, but the one before may not have ended in a line.
                        let note = [b"\n", &chunk[..count]].concat();
                        notes.lock().unwrap().extend(note);
                        if to_server.write_all(&chunk[..count]).await.is_err() {
                            break;
                        }
                    }
                    let _ = to_server.shutdown().await;
                };
                let back = async {
                    let _ = tokio::io::copy(&mut from_server, &mut to_client).await;
                    let _ = to_client.shutdown().await;
                };
                tokio::join!(there, back);
            });
        }
    });
    (addr, heard)
}

#[tokio::test]
async fn every_operation_of_the_api_has_a_command() {
    let mut shell = Shell::start().await;
    let (addr, heard) = eavesdrop(shell.node.addr).await;
    shell.admin = format!("http://{addr}");
    shell.tenant().await;
    shell
        .node
        .plane
        .write_line(&"acme".parse().unwrap(), "hello");
    shell.ok(DEPLOY).await;
    let kid = shell.json("key list --tenant acme").await[0]["kid"].clone();
    let kid = kid.as_str().unwrap();
    let module = shell.json("module show --tenant acme hello").await;
    let chain = "chain.pem";
    std::fs::write(shell.folder.join("desired.toml"), "[tenants.acme]").unwrap();
    std::fs::write(shell.folder.join(chain), "-----BEGIN CERTIFICATE-----").unwrap();
    for line in [
        "status",
        "audit",
        "node show",
        "node alive",
        "node ready",
        "node metrics",
        "node openapi",
        "node reload",
        "node upgrade",
        "backup -o node.littoral",
        "tenant list",
        "diff -f desired.toml",
        "tenant show acme",
        "usage acme",
        "usage acme --receipt",
        "logs acme",
        &format!("key show --tenant acme {kid}"),
        &format!("certificate put --tenant acme shop --chain {chain} --key {chain}"),
        "certificate list --tenant acme",
        "certificate show --tenant acme shop",
        "module list --tenant acme",
        &format!(
            "module show --tenant acme hello --version {}",
            module["active_version"]
        ),
        "module instances --tenant acme hello",
        "module instances --tenant acme hello --reuse",
        "module grants --tenant acme hello",
        "module grants --tenant acme hello --key-value default --outbound https://example.com --env A=b",
        "module grants --tenant acme hello --none",
        "store set --tenant acme visits 41",
        "store keys --tenant acme",
        "store get --tenant acme visits",
        "store delete --tenant acme visits",
        "database list --tenant acme",
        "database query --tenant acme SELECT",
        "database delete --tenant acme default",
        "module job --tenant acme job-1",
        "variable set --tenant acme greeting hello",
        "variable set --tenant acme hello/greeting hello",
        "variable list --tenant acme",
        "variable show --tenant acme hello/greeting",
        "route list --tenant acme",
        "route show --tenant acme hello.localhost/",
        "route set --tenant acme www.localhost/ --module hello --dry-run",
        "route delete --tenant acme hello.localhost/",
        "variable delete --tenant acme greeting",
        "module delete --tenant acme hello",
        "certificate delete --tenant acme shop",
        &format!("key remove --tenant acme {kid}"),
        "tenant delete acme",
    ] {
        // Both forms of every answer; what can be done once only is done again by asking for the impossible.
        let destroys = ["delete", "remove"].iter().any(|word| line.contains(word));
        assert!(!shell.ok(line).await.is_empty(), "{line}");
        if destroys {
            shell.fails(line, 1).await;
        } else {
            shell.json(line).await;
        }
    }
    let heard = String::from_utf8_lossy(&heard.lock().unwrap()).into_owned();
    let asked: Vec<(&str, &str)> = heard
        .lines()
        .filter_map(|line| line.strip_suffix(" HTTP/1.1")?.split_once(' '))
        .collect();
    let document: Value = serde_json::from_str(control_api::server::openapi_json()).unwrap();
    let mut missing = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let fits = |asked: &&(&str, &str)| {
                let (verb, target) = asked;
                let target = target.split('?').next().unwrap();
                let (wanted, found): (Vec<_>, Vec<_>) =
                    (path.split('/').collect(), target.split('/').collect());
                verb.eq_ignore_ascii_case(method)
                    && wanted.len() == found.len()
                    && wanted
                        .iter()
                        .zip(found)
                        .all(|(wanted, found)| wanted.starts_with('{') || *wanted == found)
            };
            if !asked.iter().any(|asked| fits(&asked)) {
                missing.insert(operation["operationId"].as_str().unwrap().to_owned());
            }
        }
    }
    assert!(missing.is_empty(), "no command asks for {missing:?}");
}

#[tokio::test]
async fn a_secret_is_read_from_standard_input_or_a_file_and_shown_nowhere() {
    let shell = Shell::start().await;
    shell.ok("tenant create acme").await;
    let set = "variable set --tenant acme password --secret";
    for (line, input) in [
        (set.to_owned(), "correct horse\n"),
        (format!("{set} --file secret"), "correct horse\r\n"),
        (
            format!("{set} --file secret --output json"),
            "correct horse",
        ),
    ] {
        let args: Vec<_> = line.split_whitespace().collect();
        let file = shell.folder.join("secret");
        std::fs::write(&file, input).unwrap();
        let mut command = shell.command(&args);
        command.stdin(std::fs::File::open(&file).unwrap());
        let output = timeout(PATIENCE, command.output()).await.unwrap().unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8(said).unwrap();
        assert!(output.status.success() && !said.contains("horse"), "{said}");
        let shown = shell.ok("variable show --tenant acme password").await;
        assert!(shown.contains("(secret)") && !shown.contains("horse"));
        let kept = shell
            .node
            .plane
            .value_of(&"acme".parse().unwrap(), "password");
        assert_eq!(kept, "correct horse");
    }
    // Others can read arguments.
    let said = shell.fails(&format!("{set} horse"), 2).await;
    assert!(said.contains("cannot be used with"), "{said}");
    std::fs::write(shell.folder.join("secret"), "v".repeat(16_385)).unwrap();
    let said = shell.fails(&format!("{set} --file secret"), 4).await;
    assert!(said.contains("longer than a value may be: 16384"), "{said}");
    let said = shell.fails(&format!("{set} --file absent"), 4).await;
    assert!(said.contains("no value can be read from absent"), "{said}");
    assert_eq!(
        shell
            .json("variable set --tenant acme greeting hello")
            .await["value"],
        "hello"
    );
    let listed = shell.ok("variable list --tenant acme").await;
    assert!(listed.contains("\"hello\"") && listed.contains("(secret)"));
}

#[test]
fn the_help_names_the_exit_codes() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_littoral"))
        .arg("--help")
        .output()
        .unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    for word in [
        "Exit codes: 0 done",
        "3 the node does not",
        "LITTORAL_ADMIN",
        "deploy",
    ] {
        assert!(help.contains(word), "{help}");
    }
}
