//! The servers that guests ask: real ones from Debian's packages, and strangers that say what a test wants.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, TcpListener as StdListener};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use littoral_tests::{Process, SOON, end, until_within};
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Whether a program that a test needs is missing: it is skipped then, except in CI.
fn is_missing(path: Option<PathBuf>, package: &str) -> Option<PathBuf> {
    if path.is_none() {
        let in_ci = std::env::var("CI").as_deref() == Ok("true");
        assert!(!in_ci, "the Debian package `{package}` is not there");
        eprintln!("skipped: the Debian package `{package}` is not there");
    }
    path
}

/// A port that was free just now.
fn free_port() -> u16 {
    let listener = StdListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

/// A real server on a port of its own, in a folder of its own; ends when dropped.
pub(super) struct Real {
    process: Process,
    port: u16,
    _folder: TempDir,
}

impl Drop for Real {
    fn drop(&mut self) {
        // Asked first: PostgreSQL leaves shared memory behind where it is killed.
        end(self.process.pid(), Signal::INT);
        let until = Instant::now() + SOON;
        while self.process.ended().is_none() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Real {
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// kill -9.
    pub(super) fn kill(&mut self) {
        self.process.kill();
    }

    /// Waits until it says so.
    async fn ready(mut self, word: &str) -> Self {
        until_within(SOON * 3, "the server listens", async || {
            let log = self.process.log();
            assert!(self.process.ended().is_none(), "{log}");
            log.contains(word).then_some(())
        })
        .await;
        self
    }
}

/// A certificate for this name, with its key, as servers read them.
pub(super) fn certificate(name: &str) -> (String, String) {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

/// Redis with the password `secret` for its default user, and `a:b` for another, over TLS where there is a certificate;
/// nothing where it is not installed.
pub(super) async fn redis(certificate: Option<&(String, String)>) -> Option<Real> {
    let program = PathBuf::from("/usr/bin/redis-server");
    let program = is_missing(Some(program).filter(|path| path.exists()), "redis-server")?;
    let folder = TempDir::new().unwrap();
    let port = free_port();
    let mut settings = format!(
        "bind 127.0.0.1\nsave \"\"\nappendonly no\ndir {home}\nlogfile {home}/log\n\
         requirepass secret\nuser a on >b ~* &* +@all\n",
        home = folder.path().display()
    );
    match certificate {
        None => writeln!(settings, "port {port}").unwrap(),
        Some((certificate, key)) => {
            std::fs::write(folder.path().join("chain.pem"), certificate).unwrap();
            std::fs::write(folder.path().join("key.pem"), key).unwrap();
            writeln!(
                settings,
                "port 0\ntls-port {port}\ntls-cert-file chain.pem\ntls-key-file key.pem\ntls-auth-clients no"
            )
            .unwrap();
        }
    }
    let file = folder.path().join("redis.conf");
    std::fs::write(&file, settings).unwrap();
    let log = folder.path().join("log");
    let arguments = [file.to_str().unwrap()];
    let process = Process::start_in(
        folder.path(),
        &program,
        &arguments,
        &[],
        Stdio::null(),
        &log,
    );
    let real = Real {
        process,
        port,
        _folder: folder,
    };
    Some(real.ready("Ready to accept connections").await)
}

/// PostgreSQL with the user `guest`, whose password is `secret`, over TLS too where there is a certificate; nothing where
/// it is not installed. It refuses to be root's, and is nobody's then.
pub(super) async fn postgres(certificate: Option<&(String, String)>) -> Option<Real> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok();
    let newest = versions
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .filter(|bin| bin.join("initdb").exists())
        .max();
    let bin = is_missing(newest, "postgresql")?;
    let folder = TempDir::new().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let (data, password) = (folder.path().join("data"), folder.path().join("password"));
    std::fs::write(&password, "secret\n").unwrap();
    let made = as_somebody(&bin.join("initdb"))
        .args(["--username=guest", "--auth=scram-sha-256", "--no-sync"])
        .args(["--encoding=UTF8", "--locale=C", "--pgdata"])
        .arg(&data)
        .arg("--pwfile")
        .arg(&password)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success(), "{said}");
    let port = free_port();
    let home = folder.path().display();
    let mut settings = format!(
        "port = {port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = '{home}'\nfsync = off\n\
         dynamic_shared_memory_type = mmap\n"
    );
    if let Some((certificate, key)) = certificate {
        settings.push_str("ssl = on\n");
        let owner = std::fs::metadata(&data).unwrap().uid();
        for (name, text) in [("server.crt", certificate), ("server.key", key)] {
            let file = data.join(name);
            std::fs::write(&file, text).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
            std::os::unix::fs::chown(&file, Some(owner), None).unwrap();
        }
    }
    let file = data.join("postgresql.conf");
    let written = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, written + &settings).unwrap();
    let command = as_somebody(&bin.join("postgres"));
    let program = PathBuf::from(command.get_program());
    let mut arguments: Vec<&str> = command.get_args().filter_map(|one| one.to_str()).collect();
    arguments.extend(["-D", data.to_str().unwrap()]);
    let log = folder.path().join("log");
    let process = Process::start(&program, &arguments, &[], Stdio::null(), &log);
    let real = Real {
        process,
        port,
        _folder: folder,
    };
    Some(real.ready("ready to accept connections").await)
}

/// A program that is not run as root.
fn as_somebody(program: &Path) -> Command {
    if !rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("/usr/bin/setpriv");
    command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups"]);
    command.arg(program);
    command
}

/// Who takes connections, says something at once, and waits for the end of each; ends when dropped.
pub(super) struct Stranger {
    port: u16,
    counts: Arc<(AtomicUsize, AtomicUsize)>,
    task: JoinHandle<()>,
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Stranger {
    /// Says `first` to whoever connects, and `again` after it for as long as that one takes it.
    pub(super) async fn saying(first: Vec<u8>, again: &'static [u8]) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let counts = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0)));
        let counted = Arc::clone(&counts);
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                counted.0.fetch_add(1, Ordering::SeqCst);
                counted.1.fetch_add(1, Ordering::SeqCst);
                let (counted, first) = (Arc::clone(&counted), first.clone());
                tokio::spawn(async move {
                    let mut is_there = stream.write_all(&first).await.is_ok();
                    while is_there && !again.is_empty() {
                        is_there = stream.write_all(again).await.is_ok();
                    }
                    let mut read = [0; 1024];
                    while stream.read(&mut read).await.is_ok_and(|bytes| bytes > 0) {}
                    counted.1.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { port, counts, task }
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Connections that were ever made.
    pub(super) fn connections(&self) -> usize {
        self.counts.0.load(Ordering::SeqCst)
    }

    /// Those that are open.
    pub(super) fn open(&self) -> usize {
        self.counts.1.load(Ordering::SeqCst)
    }
}
