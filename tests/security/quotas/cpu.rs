//! CPU time: of one request, of a tenant, and among tenants.

use std::time::{Duration, Instant};

use littoral_tests::{Ask, Tenant, TestEdge, beside, component, run_within, until};
use serde_json::json;

const PATIENCE: Duration = Duration::from_secs(300);

/// CPU time that the tenant's guests have used so far, in milliseconds.
async fn cpu_ms(tenant: &Tenant) -> u64 {
    tenant.usage().await.cpu_us / 1000
}

#[test]
fn a_busy_guest_is_ended_between_its_limit_and_ten_milliseconds_more() {
    run_within(PATIENCE, async {
        let edge = TestEdge::start().await;
        for (number, guest) in [
            "spins-in-a-loop",
            "spins-in-core-start",
            "spins-by-recursion",
            "fills-memory",
            "fills-memory-without-a-loop",
            "copies-memory",
            "initializes-memory",
            "fills-a-table",
            "asks-the-time",
            "makes-and-drops-handles",
            "spins-p3",
        ]
        .into_iter()
        .enumerate()
        {
            let name = format!("busy-{number}");
            let limits = json!({ "request_cpu_ms_max": 50 });
            let tenant = edge.tenant_limited(&name, limits).await;
            tenant
                .upload("guest", 1, component(&format!("hostile/{guest}")))
                .await
                .unwrap();
            tenant
                .route(&format!("{name}.test/"), "guest", None)
                .await
                .unwrap();
            // The best of three: what the machine did besides is not the guest's.
            let mut used = Vec::new();
            for _ in 0..3 {
                let before = cpu_ms(&tenant).await;
                let answer = edge.get(&format!("{name}.test/")).await;
                assert_eq!((answer.status(), answer.reason()), (502, "cpu"), "{guest}");
                used.push(cpu_ms(&tenant).await - before);
            }
            println!("{guest}: {used:?} ms");
            assert!(used.iter().all(|ms| *ms >= 50), "{guest}: {used:?} ms");
            assert!(used.iter().any(|ms| *ms <= 60), "{guest}: {used:?} ms");
        }
    });
}

#[test]
fn a_tenants_cpu_time_a_second_is_bounded_whatever_its_requests_do() {
    run_within(PATIENCE, async {
        let edge = TestEdge::start().await;
        let limits = json!({
            "cpu_ms_per_s_max": 200, "cpu_burst_ms_max": 100, "request_cpu_ms_max": 60_000,
            "request_deadline_ms_max": 3_000,
        });
        let tenant = edge.tenant_limited("bounded", limits).await;
        tenant.guest("spins-forever").await;
        let node = edge.http();
        let asked: Vec<_> = (0..3)
            .map(|_| beside(Ask::new(node, "GET", "spins-forever.bounded.test/").send()))
            .collect();
        for answer in asked {
            assert_eq!(answer.await.unwrap().reason(), "deadline");
        }
        // The burst, three seconds of the rate, and a slice for each that was under way.
        let used = cpu_ms(&tenant).await;
        assert!((300..=740).contains(&used), "{used} ms");
    });
}

#[test]
fn waiting_is_not_computing() {
    run_within(PATIENCE, async {
        let edge = TestEdge::start().await;
        let tenant = edge
            .tenant_limited("waiting", json!({ "request_cpu_ms_max": 20 }))
            .await;
        tenant.guest("waits").await;
        let answer = edge.get("waits.waiting.test/?ms=1500").await;
        assert_eq!(answer.status(), 200);
        assert!(cpu_ms(&tenant).await < 20);
    });
}

/// What three tenants with these shares get while all want more than there is, by requests of this guest.
async fn shares(edge: &TestEdge, prefix: &str, guest: &str, shares: [u64; 3]) -> [f64; 3] {
    let mut tenants = Vec::new();
    for (number, share) in shares.into_iter().enumerate() {
        let name = format!("{prefix}-{number}");
        let limits = json!({
            "cpu_share": share, "request_cpu_ms_max": 60_000, "request_deadline_ms_max": 60_000,
            "concurrent_requests_max": 64, "failures_in_a_row_max": 0,
        });
        let tenant = edge.tenant_limited(&name, limits).await;
        tenant.guest(guest).await;
        tenants.push(tenant);
    }
    let node = edge.http();
    let load: Vec<_> = (0..3)
        .flat_map(|number| (0..6).map(move |_| number))
        .map(|number| {
            let place = format!("{guest}.{prefix}-{number}.test/");
            beside(async move {
                loop {
                    Ask::new(node, "GET", &place).send().await;
                }
            })
        })
        .collect();
    until("all of them compute", async || {
        let mut all = true;
        for tenant in &tenants {
            all &= cpu_ms(tenant).await > 50;
        }
        all.then_some(())
    })
    .await;
    let mut before = [0; 3];
    for (before, tenant) in before.iter_mut().zip(&tenants) {
        *before = cpu_ms(tenant).await;
    }
    let began = Instant::now();
    until("they have computed for a while", async || {
        let mut sum = 0;
        for (before, tenant) in before.iter().zip(&tenants) {
            sum += cpu_ms(tenant).await - before;
        }
        (sum > 3_000).then_some(())
    })
    .await;
    let mut used = [0.0; 3];
    for ((used, before), tenant) in used.iter_mut().zip(before).zip(&tenants) {
        *used = (cpu_ms(tenant).await - before) as f64;
    }
    for task in load {
        task.abort();
    }
    let sum: f64 = used.iter().sum();
    println!("{prefix}: {used:?} ms in {:?}", began.elapsed());
    used.map(|used| used / sum)
}

#[test]
fn tenants_that_want_more_than_there_is_get_their_shares() {
    run_within(PATIENCE, async {
        let edge = TestEdge::start().await;
        let got = shares(&edge, "share", "spins-forever", [100, 200, 400]).await;
        for (got, due) in got.into_iter().zip([1.0 / 7.0, 2.0 / 7.0, 4.0 / 7.0]) {
            assert!(
                (got / due - 1.0).abs() < 0.1,
                "{got:.3} instead of {due:.3}"
            );
        }
    });
}
