//! Which components are in memory, and since when.

use littoral_tests::{TestEdge, component, run, until, with_section};

async fn loaded(edge: &TestEdge) -> u64 {
    edge.metric("littoral_artifact_loads_total").await as u64
}

#[test]
fn a_route_that_changes_has_its_component_loaded_before_it_is_asked_for_and_a_start_loads_none() {
    run(async {
        let mut edge = TestEdge::start().await;
        let acme = edge.tenant("acme").await;
        acme.guest("hello").await;
        until("the component of a new route is loaded", async || {
            (loaded(&edge).await == 1).then_some(())
        })
        .await;
        acme.version("hello", 2, with_section(&component("hello"), "2"))
            .await;
        until("so is that of a new version", async || {
            (loaded(&edge).await == 2).then_some(())
        })
        .await;
        assert!(edge.stop().await.success());
        edge.start_again().await;
        assert_eq!(edge.status().await.worker.resident_modules, 0);
        assert_eq!(loaded(&edge).await, 0);
        let get = || edge.get("hello.acme.test/");
        let answers = tokio::join!(get(), get(), get(), get());
        let answers: [_; 4] = answers.into();
        assert!(answers.iter().all(|answer| answer.head.status == 200));
        until("one load for all of them", async || {
            (loaded(&edge).await == 1).then_some(())
        })
        .await;
    });
}

#[test]
fn components_that_do_not_fit_the_budget_are_loaded_when_asked_for_and_nothing_is_refused() {
    run(async {
        let edge = TestEdge::build()
            .set("memory.code_mib_max", 1)
            .start()
            .await;
        let acme = edge.tenant("acme").await;
        for number in 0..8 {
            let module = format!("m{number}");
            acme.version(&module, 1, with_section(&component("hello"), &module))
                .await;
            let place = format!("{module}.acme.test/");
            acme.route(&place, &module, None).await.unwrap();
        }
        for _ in 0..3 {
            for number in 0..8 {
                let answer = edge.get(&format!("m{number}.acme.test/")).await;
                assert_eq!(answer.head.status, 200, "{}", answer.text());
            }
        }
        assert!(edge.metric("littoral_artifact_evictions_total").await > 0.0);
        assert!(edge.metric("littoral_resident_bytes").await <= f64::from(1 << 20));
    });
}
