//! Waiting for a state.

use std::time::{Duration, Instant};

/// Long enough for anything that should be there at once, on a machine that is busy with other tests.
pub const SOON: Duration = Duration::from_secs(20);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Looks until there is something, and gives it.
///
/// # Panics
/// If there is nothing after [`SOON`]; `what` is the message.
pub async fn until<T>(what: &str, look: impl AsyncFnMut() -> Option<T>) -> T {
    until_within(SOON, what, look).await
}

/// Looks until there is something, not longer than `most`, and gives it.
///
/// # Panics
/// If there is nothing by then; `what` is the message.
pub async fn until_within<T>(
    most: Duration,
    what: &str,
    mut look: impl AsyncFnMut() -> Option<T>,
) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(began.elapsed() < most, "after {most:?}: not yet so: {what}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
