//! What lies open on the box: files, environments, command lines, descriptors.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use littoral_tests::{TestEdge, environment, open_files, run, until};

fn modes(path: &Path, found: &mut Vec<(String, u32)>) {
    let metadata = std::fs::symlink_metadata(path).unwrap();
    found.push((path.display().to_string(), metadata.permissions().mode()));
    if metadata.is_dir() {
        for entry in std::fs::read_dir(path).unwrap().flatten() {
            modes(&entry.path(), found);
        }
    }
}

#[test]
fn nobody_else_may_read_anything_in_the_data_folder() {
    run(async {
        let edge = TestEdge::start().await;
        edge.tenant("acme").await.guest("hello").await;
        assert_eq!(edge.get("hello.acme.test/").await.status(), 200);
        let mut found = Vec::new();
        modes(&edge.data(), &mut found);
        assert!(found.len() > 10, "{found:?}");
        // The worker's group may read artifacts that it was given, once they are open: their folders let nobody in.
        let artifacts = edge.data().join("artifacts").display().to_string();
        let others = |path: &str, mode: u32| match mode & 0o077 {
            0o040 => !path.starts_with(&artifacts),
            mode => mode != 0,
        };
        let open: Vec<_> = found
            .iter()
            .filter(|(path, mode)| others(path, *mode))
            .collect();
        assert!(open.is_empty(), "{open:?}");
    });
}

#[test]
fn the_worker_has_no_environment_no_arguments_and_no_files_but_artifacts() {
    run(async {
        let edge = TestEdge::start().await;
        let acme = edge.tenant("acme").await;
        acme.guest("hello").await.guest("echo").await;
        assert_eq!(edge.get("hello.acme.test/").await.status(), 200);
        assert_eq!(edge.get("echo.acme.test/").await.status(), 200);
        let worker = edge.status().await.worker.pid;
        let (variables, arguments) = environment(worker);
        assert_eq!(
            (variables.trim(), arguments.trim()),
            ("", "littorald: worker worker")
        );
        assert_eq!(
            std::fs::read_link(format!("/proc/{worker}/cwd")).unwrap(),
            Path::new("/")
        );
        let artifacts = edge.data().join("artifacts").display().to_string();
        let log = edge.data().with_file_name("log").display().to_string();
        for file in open_files(worker) {
            // wasmtime's pool looks at which of its own pages were written.
            let pages = format!("/proc/{worker}/pagemap");
            let harmless = [
                "socket:",
                "anon_inode:",
                "pipe:",
                "/dev/null",
                &pages,
                &log,
                &artifacts,
            ];
            assert!(
                harmless.iter().any(|start| file.starts_with(start)),
                "the worker holds {file}"
            );
        }
    });
}

#[test]
fn the_compile_child_has_no_variables_but_bounds_and_neither_keys_nor_store() {
    run(async {
        let mut edge = TestEdge::build()
            .set("compile.wall_ms_max", 5000)
            .start()
            .await;
        let acme = edge.tenant("acme").await;
        let mut request = acme.request("slow", 1, littoral_tests::component("compile-bomb-slow"));
        request.respond_async = true;
        acme.send(&request).await.unwrap();
        let worker = edge.status().await.worker.pid;
        let keys = edge.data().join("keys").display().to_string();
        let store = edge.data().join("store").display().to_string();
        let control = edge.control();
        let (variables, files) = until("there is a compile child", async || {
            let child = control
                .children()
                .into_iter()
                .find(|child| *child != worker)?;
            let (variables, arguments) = environment(child);
            // Between fork and exec it still is its parent.
            arguments
                .contains("compile")
                .then(|| (variables, open_files(child)))
        })
        .await;
        // Bounds for its allocator and its threads, and nothing else.
        for variable in variables.split_whitespace() {
            let (name, _) = variable.split_once('=').unwrap();
            assert!(
                ["MALLOC_ARENA_MAX", "RAYON_NUM_THREADS"].contains(&name),
                "{variable}"
            );
        }
        for file in files {
            assert!(
                !file.starts_with(&keys) && !file.starts_with(&store),
                "the child holds {file}"
            );
        }
    });
}

#[test]
fn secrets_are_in_no_log() {
    run(async {
        let edge = TestEdge::build().set("log.level", "trace").start().await;
        let acme = edge.tenant("acme").await;
        acme.guest("hello").await;
        edge.get("hello.acme.test/").await;
        let token = edge.token(&[control_api::auth::Scope::NodeAdmin], None);
        let bearer = format!("Bearer {token}");
        edge.admin_ask("GET", "/v1/status", &[("Authorization", &bearer)], b"")
            .await;
        edge.admin_ask(
            "GET",
            "/v1/status",
            &[("Authorization", &format!("{bearer}x"))],
            b"",
        )
        .await;
        let log = edge.log();
        assert!(log.len() > 1000);
        let (_, signature) = token.rsplit_once('.').unwrap();
        assert!(!log.contains(signature), "a token is in the log");
        let key = std::fs::read_to_string(edge.data().join("keys/admin.key")).unwrap();
        let body = key.lines().nth(1).unwrap();
        assert!(!log.contains(body), "a key is in the log");
    });
}
