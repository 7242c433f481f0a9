//! What protects the node: budgets for code and buffers, clients' connections, and the ladder when memory runs short.

use littoral_tests::{TestEdge, Wire, component, refusal, run, until, with_section};
use serde_json::json;

#[test]
fn code_that_does_not_fit_its_budget_makes_room_and_nobody_is_refused() {
    run(async {
        let edge = TestEdge::build()
            .set("memory.code_mib_max", 1)
            .start()
            .await;
        let acme = edge.tenant("code").await;
        let hello = component("hello");
        for number in 0..8 {
            let module = format!("m{number}");
            acme.upload(&module, 1, with_section(&hello, &module))
                .await
                .unwrap();
            acme.route(&format!("{module}.code.test/"), &module, None)
                .await
                .unwrap();
        }
        for round in 0..3 {
            for number in 0..8 {
                let answer = edge.get(&format!("m{number}.code.test/")).await;
                assert_eq!(answer.status(), 200, "round {round}, m{number}");
            }
        }
        let resident = until("figures are there", async || {
            let bytes = edge.metric("littoral_resident_bytes").await;
            (bytes > 0.0).then_some(bytes)
        })
        .await;
        assert!(resident <= f64::from(1 << 20), "{resident} bytes");
        assert!(edge.metric("littoral_artifact_evictions_total").await >= 10.0);
    });
}

#[test]
fn connections_beyond_the_buffers_wait_and_are_not_refused() {
    run(async {
        // 1 MiB: 64 connections of 16 KiB, or fewer beside a request.
        let edge = TestEdge::build()
            .set("memory.buffers_mib_max", 1)
            .set("http.threads", 1)
            .start()
            .await;
        edge.tenant("buffers").await.guest("hello").await;
        let ask = "GET / HTTP/1.1\r\nHost: hello.buffers.test\r\n\r\n";
        let mut idle = Vec::new();
        for connections in 1..=52 {
            let mut wire = edge.wire().await;
            wire.send(ask).await;
            assert_eq!(wire.answer().await.status(), 200);
            idle.push(wire);
            // A guest may be at its last steps when its whole answer is there already.
            until("the request's part is given back", async || {
                let idle = f64::from(connections * (16 << 10));
                (edge.metric("littoral_buffer_bytes").await <= idle).then_some(())
            })
            .await;
        }
        // Connected, but 128 KiB for a request are not left.
        let mut filler = Vec::new();
        for _ in 0..8 {
            filler.push(edge.wire().await);
        }
        until("the buffers are all but used up", async || {
            (edge.metric("littoral_buffer_bytes").await >= f64::from(57 * (16 << 10))).then_some(())
        })
        .await;
        idle[0].send(ask).await;
        let refused = idle[0].answer().await;
        assert_eq!((refused.status(), refused.reason()), (503, "pressure"));
        drop(filler);
        until("there is room again", async || {
            idle[0].send(ask).await;
            (idle[0].answer().await.status() == 200).then_some(())
        })
        .await;
    });
}

#[test]
fn one_client_has_only_so_many_connections() {
    run(async {
        let edge = TestEdge::build()
            .set("http.client_connections_max", 4)
            .start()
            .await;
        edge.tenant("clients").await.guest("hello").await;
        let ask = "GET / HTTP/1.1\r\nHost: hello.clients.test\r\n\r\n";
        let mut wires: Vec<Wire> = Vec::new();
        for _ in 0..4 {
            let mut wire = edge.wire().await;
            wire.send(ask).await;
            assert_eq!(wire.answer().await.status(), 200);
            wires.push(wire);
        }
        let mut fifth = edge.wire().await;
        let _ = fifth.try_send(ask).await;
        assert!(
            fifth.try_head().await.is_none(),
            "it is closed without an answer"
        );
        until("it is counted", async || {
            let series = "littoral_refusals_total{tenant=\"\",reason=\"connections\"}";
            (edge.metric(series).await >= 1.0).then_some(())
        })
        .await;
        wires.pop();
        until("the next is let in", async || {
            let mut wire = edge.wire().await;
            let _ = wire.try_send(ask).await;
            wire.try_head()
                .await
                .is_some_and(|head| head.status == 200)
                .then_some(())
        })
        .await;
    });
}

#[test]
fn a_node_short_of_memory_sheds_the_lowest_classes_and_keeps_the_highest() {
    run(async {
        // Short by definition: less than all of the box is available.
        let edge = TestEdge::build()
            .set("memory.shed_below_percent", 100)
            .set("memory.evict_below_percent", 100)
            .set("memory.shrink_below_percent", 100)
            .start()
            .await;
        for (name, class) in [("low", 0), ("high", 3)] {
            let tenant = edge
                .tenant_limited(name, json!({ "priority_class": class }))
                .await;
            tenant.guest("hello").await;
        }
        let refused = until("the lowest class is shed", async || {
            let answer = edge.get("hello.low.test/").await;
            (answer.status() == 503).then_some(answer)
        })
        .await;
        assert_eq!(
            (refused.reason(), refused.header("retry-after")),
            ("pressure", Some("1"))
        );
        for _ in 0..5 {
            assert_eq!(edge.get("hello.high.test/").await.status(), 200);
        }
        assert_eq!(
            edge.metric("littoral_memory_pressure_step{step=\"shed\"}")
                .await,
            1.0
        );
        assert!(
            edge.metric("littoral_memory_pressure_steps_total{step=\"shed\"}")
                .await
                >= 1.0
        );
        let available = edge.metric("littoral_memory_available_ratio").await;
        assert!((0.0..1.0).contains(&available), "{available}");
        // Code that nobody uses goes meanwhile.
        until("cold code is dropped", async || {
            (edge.metric("littoral_artifact_evictions_total").await >= 1.0).then_some(())
        })
        .await;
        assert_eq!(edge.get("hello.high.test/").await.status(), 200);
    });
}

#[test]
fn native_code_larger_than_the_tenants_limit_is_refused_shared_or_not() {
    run(async {
        let edge = TestEdge::start().await;
        let small = edge
            .tenant_limited("small", json!({ "artifact_kib_max": 64 }))
            .await;
        let refused = small.upload("hello", 1, component("hello")).await;
        assert_eq!(refusal(refused), "compile-too-costly");
        let large = edge.tenant("large").await;
        large.upload("hello", 1, component("hello")).await.unwrap();
        let refused = small.upload("hello", 1, component("hello")).await;
        assert_eq!(refusal(refused), "compile-too-costly");
    });
}
