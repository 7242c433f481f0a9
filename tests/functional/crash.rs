//! kill -9 of control at random moments of uploads and route changes: nothing acknowledged is missing, nothing is half
//! there.

use std::time::{Duration, Instant};

use control_api::client::ClientError;
use littoral_tests::powerloss::Coins;
use littoral_tests::{Model, TestEdge, beside, end, run};
use rustix::process::Signal;

/// Acknowledged changes in all.
const CHANGES: usize = 200;
/// Lives of the node at least.
const KILLS_MIN: usize = 12;
/// The longest life, from the first change to the kill.
const LIFE_MS_MAX: u64 = 250;

#[test]
fn nothing_acknowledged_is_lost_by_kill_9_of_control_and_nothing_is_half_there() {
    run(async {
        let mut coins = Coins::thrown();
        let began = Instant::now();
        let mut edge = TestEdge::start().await;
        let acme = edge.tenant("acme").await;
        let (mut model, mut made, mut kills) = (Model::default(), 0, 0);
        while made < CHANGES || kills < KILLS_MIN {
            let acme = acme.through(edge.client());
            let (pid, life_ms) = (edge.control().pid(), coins.below(LIFE_MS_MAX));
            let killer = beside(async move {
                tokio::time::sleep(Duration::from_millis(life_ms)).await;
                end(pid, Signal::KILL);
            });
            let cut_off = loop {
                let change = model.next(&mut coins);
                match change.make(&acme).await {
                    Ok(()) => {
                        model = model.after(change);
                        made += 1;
                    }
                    Err(ClientError::Problem(problem)) => panic!("{change:?}: {problem:?}"),
                    Err(_) => break change,
                }
            };
            killer.await.unwrap();
            edge.control().wait().await;
            edge.start_again().await;
            kills += 1;
            let acme = acme.through(edge.client());
            let found = Model::found(edge.client(), &acme).await.unwrap();
            let with = model.after(cut_off);
            assert!(
                found == model || found == with,
                "{cut_off:?}:\n{model:?}\n{found:?}"
            );
            model = found;
            model.serves(&edge).await;
        }
        println!(
            "{made} changes, {kills} kills, {} s",
            began.elapsed().as_secs()
        );
        let recompiled = "littoral_artifact_states_total{state=\"recompiled\"}";
        assert_eq!(edge.metric(recompiled).await, 0.0);
    });
}
