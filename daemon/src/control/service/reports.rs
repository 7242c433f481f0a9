//! Telling the service manager how it goes, for as long as the node runs.

use std::time::Duration;

use super::{Notifier, Pulse};

/// How often the status is looked at where no sign of life is wanted more often.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Signs of life in the time that the manager waits for one: two may be late.
const SIGNS_PER_WATCHDOG: u32 = 3;

/// Sends the status when it has changed, and, where the manager waits for them, signs of life: each after every loop has
/// answered that it turns. While one does not, there is none, and the manager ends the node when its patience is over.
///
/// `status` may wait for locks of control: one that is never given back ends the signs of life too.
///
/// # Cancel safety
/// May be dropped at any time.
pub(in crate::control) async fn report(
    notifier: &Notifier,
    watchdog: Option<Duration>,
    loops: &[&Pulse],
    status: impl Fn() -> String,
) {
    let every = watchdog.map_or(LOOK_EVERY, |patience| {
        (patience / SIGNS_PER_WATCHDOG).clamp(Duration::from_millis(1), LOOK_EVERY)
    });
    let mut look = tokio::time::interval(every);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut said = String::new();
    loop {
        look.tick().await;
        let now = status();
        if now != said {
            notifier.status(&now);
            said = now;
        }
        if watchdog.is_none() {
            continue;
        }
        for pulse in loops {
            if tokio::time::timeout(every, pulse.felt()).await.is_err() {
                tracing::error!(
                    name = pulse.name(),
                    "a loop of control does not answer; no sign of life until it does"
                );
                pulse.felt().await;
            }
        }
        notifier.alive();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::os::unix::net::UnixDatagram;

    use super::*;

    /// A notifier whose manager counts.
    fn manager() -> (tempfile::TempDir, UnixDatagram, Notifier) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        let notifier = Notifier::to(path.as_os_str()).unwrap();
        (folder, socket, notifier)
    }

    fn said(socket: &UnixDatagram) -> Vec<String> {
        std::iter::from_fn(|| {
            let mut space = [0; 1024];
            let length = socket.recv(&mut space).ok()?;
            Some(String::from_utf8_lossy(&space[..length]).into_owned())
        })
        .collect()
    }

    #[tokio::test(start_paused = true)]
    async fn signs_of_life_end_when_one_loop_hangs_and_come_back_with_it() {
        let (_folder, socket, notifier) = manager();
        let (turns, hangs) = (Pulse::of("turns"), Pulse::of("hangs"));
        let watchdog = Some(Duration::from_secs(3));
        let both = [&turns, &hangs];
        let reporting = report(&notifier, watchdog, &both, || "well".to_owned());
        let always = async {
            let mut beat = turns.beat();
            loop {
                beat.when_asked().await;
            }
        };
        let sometimes = async {
            let mut beat = hangs.beat();
            let turning = async {
                loop {
                    beat.when_asked().await;
                }
            };
            let _ = tokio::time::timeout(Duration::from_millis(5500), turning).await;
            let alive = said(&socket);
            assert_eq!(alive.first().map(String::as_str), Some("STATUS=well\n"));
            assert_eq!(alive.len(), 1 + 6, "at 0, 1, 2, 3, 4 and 5 s: {alive:?}");
            tokio::time::sleep(Duration::from_secs(60)).await;
            assert_eq!(said(&socket), Vec::<String>::new(), "while it hangs");
            let turning = async {
                loop {
                    beat.when_asked().await;
                }
            };
            let _ = tokio::time::timeout(Duration::from_millis(2500), turning).await;
            let back = said(&socket);
            assert!(
                back.len() >= 2 && back.iter().all(|sign| sign == "WATCHDOG=1\n"),
                "{back:?}"
            );
        };
        tokio::select! {
            () = reporting => unreachable!("it reports for ever"),
            () = always => unreachable!("it turns for ever"),
            () = sometimes => {}
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_status_is_sent_when_it_changes_and_no_sign_of_life_that_nobody_waits_for() {
        let (_folder, socket, notifier) = manager();
        let looks = Cell::new(0);
        let hangs = Pulse::of("hangs");
        let status = || {
            looks.set(looks.get() + 1);
            format!("seen {}", looks.get() / 3)
        };
        let loops = [&hangs];
        let reporting = report(&notifier, None, &loops, status);
        let _ = tokio::time::timeout(Duration::from_secs(45), reporting).await;
        assert_eq!(said(&socket), ["STATUS=seen 0\n", "STATUS=seen 1\n"]);
    }
}
