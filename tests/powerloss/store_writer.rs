//! Opens the store in the directory it is given and commits transactions of `workload.rs`, several at a time, until
//! it is killed. Prints `open SEQ RECOVERY`, then `ack SEQ` for each transaction as it is acknowledged, and where the
//! store fails, `failed` with the error for each transaction that is answered so, once the whole window was; then it
//! ends with status 3.

#[path = "workload.rs"]
#[allow(dead_code, reason = "the other half is for the checking side")]
mod workload;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use littorald::store::blobs::{Blobs, digest_of};
use littorald::store::{Seq, Store, StoreError};

/// Transactions under way at the same time.
const WINDOW: u64 = 6;

/// Set by the first transaction that could not be submitted: those behind it would get its number.
static STOPPED: AtomicBool = AtomicBool::new(false);

async fn commit(store: Store, blobs: Blobs, seq: Seq) -> Result<Seq, StoreError> {
    let component = workload::component(seq);
    // As in an upload: the component is durable and leased before the store refers to it.
    let lease = component.map(|bytes| {
        let mut incoming = blobs.begin(bytes.len() as u64).ok()?;
        incoming.write(&bytes).ok()?;
        incoming.finish(&digest_of(&bytes)).ok()
    });
    if matches!(lease, Some(None)) {
        STOPPED.store(true, Ordering::Relaxed);
    }
    let lease = match lease {
        _ if STOPPED.load(Ordering::Relaxed) => {
            return Err(StoreError::Unavailable {
                reason: "its component could not be kept".into(),
            });
        }
        lease => lease.flatten(),
    };
    store
        .commit(workload::transaction(
            seq,
            lease.as_ref().map(|lease| lease.digest()),
        ))
        .await
}

async fn run(dir: PathBuf) -> ExitCode {
    let opened = match Store::open(workload::options(&dir)) {
        Ok(opened) => opened,
        Err(error) => {
            println!("failed {error}");
            return ExitCode::from(3);
        }
    };
    println!("open {} {}", opened.snapshot.seq, opened.recovery.label());
    let blobs = match workload::blobs(&dir) {
        Ok(blobs) => blobs,
        Err(error) => {
            println!("failed {error}");
            return ExitCode::from(3);
        }
    };
    let mut seq = opened.snapshot.seq;
    loop {
        // Tasks start in the order in which they were spawned, so they enter the queue in that order.
        let window: Vec<_> = (seq + 1..=seq + WINDOW)
            .map(|seq| {
                let (store, blobs) = (opened.store.clone(), blobs.clone());
                (seq, tokio::task::spawn(commit(store, blobs, seq)))
            })
            .collect();
        let mut failed = false;
        for (wanted, task) in window {
            match task.await {
                Ok(Ok(seq)) if seq == wanted && !failed => println!("ack {seq}"),
                Ok(Ok(seq)) => panic!(
                    "transaction {wanted} was acknowledged as {seq}, after a failure: {failed}"
                ),
                Ok(Err(error)) => {
                    println!("failed {error}");
                    failed = true;
                }
                Err(error) => panic!("{error}"),
            }
        }
        if failed {
            return ExitCode::from(3);
        }
        seq += WINDOW;
    }
}

fn main() -> ExitCode {
    let Some(dir) = std::env::args_os().nth(1) else {
        eprintln!("usage: store-writer DIR");
        return ExitCode::from(2);
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime without drivers needs nothing");
    runtime.block_on(run(PathBuf::from(dir)))
}
