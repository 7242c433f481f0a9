//! `littorald dev`, as a person starts it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, BufReader};

use crate::binary::littorald;
use crate::process::Process;
use crate::wire::{Answer, Ask};

/// The longest wait for the line on standard output.
const LINE_MAX: Duration = Duration::from_secs(30);

/// A node in dev mode. Ends when dropped.
pub struct DevNode {
    process: Process,
    /// The line it printed, as JSON.
    pub said: serde_json::Value,
    /// From its start to that line.
    pub took: Duration,
}

impl DevNode {
    /// Starts it on free ports with its data in this folder, and reads the line that it prints.
    pub async fn start(data: &Path) -> Self {
        let folder = data.parent().expect("a folder in another");
        let name = data.to_str().expect("a plain name");
        Self::start_in(folder, name).await
    }

    /// The same, started in a folder, which the name of the data may be relative to.
    pub async fn start_in(folder: &Path, data_text: &str) -> Self {
        let arguments = [
            "dev",
            "--data",
            data_text,
            "--http",
            "127.0.0.1:0",
            "--admin",
            "127.0.0.1:0",
        ];
        let began = Instant::now();
        let log = folder.join(data_text).with_extension("log");
        let program = littorald();
        let mut process = Process::start_in(folder, program, &arguments, &[], Stdio::piped(), &log);
        let stdout = tokio::process::ChildStdout::from_std(process.stdout()).expect("a pipe");
        let mut lines = BufReader::new(stdout).lines();
        let line = tokio::time::timeout(LINE_MAX, lines.next_line()).await;
        let line = line.ok().and_then(Result::ok).flatten();
        let line = line.unwrap_or_else(|| panic!("it said nothing:\n{}", process.log_tail()));
        Self {
            took: began.elapsed(),
            said: serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}")),
            process,
        }
    }

    /// A member of the line that is text.
    pub fn text(&self, member: &str) -> &str {
        let value = self.said[member].as_str();
        value.unwrap_or_else(|| panic!("no text `{member}` in {}", self.said))
    }

    /// A member of the line that is a path.
    pub fn path(&self, member: &str) -> PathBuf {
        self.text(member).into()
    }

    /// Where guests are served.
    pub fn http(&self) -> SocketAddr {
        let address = self.text("http").strip_prefix("http://");
        address
            .and_then(|text| text.parse().ok())
            .expect("an address")
    }

    /// Asks a guest.
    pub async fn get(&self, place: &str) -> Answer {
        Ask::new(self.http(), "GET", place).send().await
    }

    /// What Prometheus would scrape.
    pub async fn metrics(&self) -> String {
        let address = self.text("admin").strip_prefix("http://");
        let address = address.and_then(|text| text.parse().ok());
        let ask = Ask::new(address.expect("an address"), "GET", "node/metrics");
        ask.send().await.text()
    }

    /// What it wrote for people.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// SIGTERM, and the wait for its end.
    pub async fn stop(mut self) -> ExitStatus {
        self.process.tell_to_stop();
        self.process.wait().await
    }
}
