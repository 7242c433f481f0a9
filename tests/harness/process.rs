//! One process of a node, by its id: its end, and what `/proc` says of it.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::wait::{SOON, until_within};

/// A process that the harness started, with its standard error in a file. Killed when dropped, its children too.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a program in an environment that holds nothing of the tests' but `environment`; its log is appended to.
    pub fn start(
        program: &Path,
        arguments: &[&str],
        environment: &[(String, OsString)],
        stdout: Stdio,
        log: &Path,
    ) -> Self {
        Self::start_in(Path::new("."), program, arguments, environment, stdout, log)
    }

    /// The same, in a folder.
    pub fn start_in(
        folder: &Path,
        program: &Path,
        arguments: &[&str],
        environment: &[(String, OsString)],
        stdout: Stdio,
        log: &Path,
    ) -> Self {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(folder);
        Self::spawn(command, environment, (Stdio::null(), stdout), log)
    }

    /// The same, with a standard input.
    pub fn start_with(
        program: &Path,
        arguments: &[&str],
        environment: &[(String, OsString)],
        stdin: Stdio,
        stdout: Stdio,
        log: &Path,
    ) -> Self {
        let mut command = Command::new(program);
        command.args(arguments);
        Self::spawn(command, environment, (stdin, stdout), log)
    }

    fn spawn(
        mut command: Command,
        environment: &[(String, OsString)],
        (stdin, stdout): (Stdio, Stdio),
        log: &Path,
    ) -> Self {
        let file = File::options()
            .append(true)
            .create(true)
            .open(log)
            .expect("the log can be written");
        let child = command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .envs(environment.iter().cloned())
            .stdin(stdin)
            .stdout(stdout)
            .stderr(file)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
        Self {
            child,
            log: log.to_owned(),
        }
    }

    /// Its id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Takes the end of its standard output.
    pub fn stdout(&mut self) -> std::process::ChildStdout {
        self.child.stdout.take().expect("standard output is piped")
    }

    /// Its status, if it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }

    /// Sends SIGTERM.
    pub fn tell_to_stop(&self) {
        end(self.pid(), Signal::TERM);
    }

    /// Waits until it has ended by itself.
    pub async fn wait(&mut self) -> ExitStatus {
        until_within(SOON * 2, "the process has ended", async || self.ended()).await
    }

    /// kill -9, and waits until it is gone. Its children are left alone.
    pub fn kill(&mut self) {
        // Fails only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// What it wrote to its standard error so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// The last part of its log, for a failed test.
    pub fn log_tail(&self) -> String {
        const LINES: usize = 60;
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    }

    /// The ids of its children.
    pub fn children(&self) -> Vec<u32> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid()));
        tasks
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok())
            .flat_map(|children| {
                let ids: Vec<u32> = children
                    .split_ascii_whitespace()
                    .filter_map(|id| id.parse().ok())
                    .collect();
                ids
            })
            .collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let children = self.children();
        self.kill();
        // A worker whose control is gone drains first; here nobody waits for what it finishes.
        for child in children {
            end(child, Signal::KILL);
        }
    }
}

/// Sends a signal to one process; none if it is gone.
pub fn end(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

/// What the open descriptors of a process are, as `/proc` names them.
pub fn open_files(pid: u32) -> Vec<String> {
    std::fs::read_dir(format!("/proc/{pid}/fd"))
        .expect("the process is there and ours")
        .flatten()
        .filter_map(|fd| std::fs::read_link(fd.path()).ok())
        .map(|target| target.to_string_lossy().into_owned())
        .collect()
}

/// The environment and the command line of a process, as they were when it started.
pub fn environment(pid: u32) -> (String, String) {
    let read = |name: &str| {
        let bytes = std::fs::read(format!("/proc/{pid}/{name}")).expect("the process is there");
        String::from_utf8_lossy(&bytes).replace('\0', " ")
    };
    (read("environ"), read("cmdline"))
}
