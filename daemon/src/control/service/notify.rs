//! Notifications to a service manager: one datagram each, of lines `NAME=value` (`sd_notify(3)`).
//!
//! The crates that do this take a leading `@` for a file's name, where it stands for an abstract address.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// The longest text of a status; what is longer is cut. systemd reads datagrams of at most 4 KiB.
const STATUS_BYTES_MAX: usize = 512;

/// Where notifications go.
#[derive(Debug)]
pub struct Notifier {
    socket: UnixDatagram,
    address: SocketAddr,
}

impl Notifier {
    /// To `NOTIFY_SOCKET`, if there is one that can be addressed.
    #[must_use]
    pub fn from_environment() -> Option<Self> {
        let place = std::env::var_os("NOTIFY_SOCKET")?;
        match Self::to(&place) {
            Ok(notifier) => Some(notifier),
            Err(error) => {
                // The log is not set up yet, and a node that cannot say that it serves serves all the same.
                eprintln!(
                    "littorald: NOTIFY_SOCKET={} is not used: {error}",
                    place.display()
                );
                None
            }
        }
    }

    /// To a socket: an absolute path, or `@` and an abstract name.
    ///
    /// # Errors
    /// Where the place is neither, or is too long for an address (107 bytes).
    pub fn to(place: &OsStr) -> io::Result<Self> {
        let address = match place.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            [b'/', ..] => SocketAddr::from_pathname(place)?,
            _ => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "allowed are an absolute path, and '@' with an abstract name",
                ));
            }
        };
        let socket = UnixDatagram::unbound()?;
        // The loops that it is told about must not wait for a manager that does not read.
        socket.set_nonblocking(true)?;
        Ok(Self { socket, address })
    }

    /// The node serves.
    pub fn ready(&self, status: &str) {
        self.send(&format!("READY=1\n{}", status_line(status)));
    }

    /// The node begins to change; over with the next readiness.
    pub fn reloading(&self, status: &str) {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
        let nanos = u64::try_from(now.tv_nsec).unwrap_or(0);
        let monotonic_us = seconds
            .saturating_mul(1_000_000)
            .saturating_add(nanos / 1000);
        let status = status_line(status);
        self.send(&format!(
            "RELOADING=1\nMONOTONIC_USEC={monotonic_us}\n{status}"
        ));
    }

    /// Another process is the node from here on, and says so itself.
    pub fn main_is(&self, pid: u32) {
        self.send(&format!("MAINPID={pid}\n"));
    }

    /// How it goes, in words for people.
    pub fn status(&self, status: &str) {
        self.send(&status_line(status));
    }

    /// The node is alive.
    pub fn alive(&self) {
        self.send("WATCHDOG=1\n");
    }

    /// The node ends, and takes at most this long to: what the manager would otherwise allow counts no more.
    pub fn stopping(&self, status: &str, most: Duration) {
        let most_us = most.as_micros();
        let status = status_line(status);
        self.send(&format!(
            "STOPPING=1\nEXTEND_TIMEOUT_USEC={most_us}\n{status}"
        ));
    }

    /// Nobody can be told that telling failed, except those who read the log.
    fn send(&self, lines: &str) {
        if let Err(error) = self.socket.send_to_addr(lines.as_bytes(), &self.address) {
            tracing::warn!(%error, lines, "the service manager cannot be notified");
        }
    }
}

/// A status of one line: what would begin another is a space instead.
fn status_line(status: &str) -> String {
    let mut line = status.replace(['\n', '\r', '\0'], " ");
    line.truncate(line.floor_char_boundary(STATUS_BYTES_MAX));
    format!("STATUS={line}\n")
}

/// How long the manager waits for a sign of life, if it waits for this process's.
pub(super) fn watchdog() -> Option<Duration> {
    let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
    watched(
        number("WATCHDOG_USEC"),
        number("WATCHDOG_PID"),
        std::process::id(),
    )
}

fn watched(usec: Option<u64>, whom: Option<u64>, me: u32) -> Option<Duration> {
    let is_me = whom.is_none_or(|whom| whom == u64::from(me));
    usec.filter(|usec| *usec > 0 && is_me)
        .map(Duration::from_micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(socket: &UnixDatagram) -> String {
        let mut space = [0; 2048];
        let length = socket.recv(&mut space).unwrap();
        String::from_utf8(space[..length].to_vec()).unwrap()
    }

    #[test]
    fn each_notification_is_one_datagram_at_a_path_or_an_abstract_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let name = format!("littoral-{}-notify", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        for (place, manager) in [
            (
                path.clone().into_os_string(),
                UnixDatagram::bind(&path).unwrap(),
            ),
            (
                format!("@{name}").into(),
                UnixDatagram::bind_addr(&address).unwrap(),
            ),
        ] {
            let notifier = Notifier::to(&place).unwrap();
            notifier.ready("serving");
            notifier.alive();
            notifier.stopping("draining", Duration::from_millis(1500));
            notifier.main_is(7);
            notifier.reloading("reading");
            assert_eq!(read(&manager), "READY=1\nSTATUS=serving\n");
            assert_eq!(read(&manager), "WATCHDOG=1\n");
            assert_eq!(
                read(&manager),
                "STOPPING=1\nEXTEND_TIMEOUT_USEC=1500000\nSTATUS=draining\n"
            );
            assert_eq!(read(&manager), "MAINPID=7\n");
            let reloading = read(&manager);
            let at = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=");
            let at = at.and_then(|rest| rest.strip_suffix("\nSTATUS=reading\n"));
            assert!(
                at.is_some_and(|us| us.parse::<u64>().is_ok_and(|us| us > 0)),
                "{reloading}"
            );
        }
    }

    #[test]
    fn a_manager_that_is_not_there_or_does_not_read_holds_nobody_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let notifier = Notifier::to(path.as_os_str()).unwrap();
        notifier.alive();
        let manager = UnixDatagram::bind(&path).unwrap();
        // More than any backlog of datagrams: the call that would wait fails instead.
        for _ in 0..10_000 {
            notifier.alive();
        }
        assert_eq!(read(&manager), "WATCHDOG=1\n");
    }

    #[test]
    fn a_place_that_is_no_address_is_refused() {
        for place in ["", "notify", &format!("/{}", "x".repeat(200))] {
            assert!(Notifier::to(OsStr::new(place)).is_err(), "{place:?}");
        }
    }

    #[test]
    fn a_status_is_one_line_and_not_too_long() {
        assert_eq!(status_line("a\nREADY=1"), "STATUS=a READY=1\n");
        let line = status_line(&"ö".repeat(400));
        assert_eq!(line.len(), "STATUS=\n".len() + 512);
    }

    #[test]
    fn a_sign_of_life_is_sent_where_it_is_wanted_of_this_process() {
        let second = Some(Duration::from_secs(1));
        assert_eq!(watched(Some(1_000_000), None, 7), second);
        assert_eq!(watched(Some(1_000_000), Some(7), 7), second);
        assert_eq!(watched(Some(1_000_000), Some(8), 7), None);
        assert_eq!(watched(Some(0), None, 7), None);
        assert_eq!(watched(None, Some(7), 7), None);
    }
}
