//! A disk that dies while nothing is changed.

use super::fault::FailingFile;
use super::*;

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test(start_paused = true)]
async fn an_idle_store_finds_out_that_its_disk_died() {
    let dir = TempDir::new().unwrap();
    let lock = lock(dir.path()).unwrap();
    let mut recovered = recover::recover(dir.path(), 1 << 20).unwrap();
    recovered.export.replace_journal(|inner| {
        Box::new(FailingFile {
            inner,
            syncs_left: 2,
            bytes_left: usize::MAX,
        })
    });
    let store = Store::start(options(dir.path()), lock, recovered)
        .unwrap()
        .store;
    assert_eq!(store.health(), Health::Working);
    let began = tokio::time::Instant::now();
    let now_s = || 1_790_000_000 + began.elapsed().as_secs();
    store.ask_disk_every(HOUR, now_s).await;
    assert_eq!(began.elapsed(), 3 * HOUR, "two hours well, one not");
    assert_eq!(store.seq(), 2);
    assert!(matches!(store.health(), Health::Failed { .. }));
    store.close().await;

    let found = Store::open(options(dir.path())).unwrap();
    let known_good_time_s = found.snapshot.known_good_time_s;
    found.store.close().await;
    // The third was not acknowledged: it is whole or absent.
    let hours = |hours: u64| 1_790_000_000 + hours * 3600;
    assert!([hours(2), hours(3)].contains(&known_good_time_s));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_failed_is_not_asked_again() {
    let dir = TempDir::new().unwrap();
    let opened = Store::open(options(dir.path())).unwrap();
    opened
        .store
        .inner
        .condition
        .fail("the medium failed".to_owned());
    let began = tokio::time::Instant::now();
    opened.store.ask_disk_every(HOUR, || 1).await;
    assert_eq!(began.elapsed(), Duration::ZERO);
    opened.store.close().await;
}
