//! Memory: of an instance, of a tenant, of all guests, and what the kernel says of it.

use littoral_tests::{Tenant, TestEdge, Wire, component, run, until};
use serde_json::json;

const MIB: u64 = 1 << 20;

/// Has an instance hold `mib` MiB more than it begins with, for as long as the connection is there.
async fn holds(edge: &TestEdge, host: &str, mib: u64) -> Wire {
    let mut wire = edge.wire().await;
    wire.send(format!(
        "GET /?mib={mib}&hold_ms=60000 HTTP/1.1\r\nHost: {host}\r\n\r\n"
    ))
    .await;
    wire
}

async fn memory_settles(tenant: &Tenant, least: u64) -> u64 {
    let mut last = 0;
    until("its memory no longer grows", async || {
        let now = tenant.usage().await.memory_bytes;
        let settled = now >= least && now == last;
        last = now;
        settled.then_some(now)
    })
    .await
}

#[test]
fn the_instance_that_does_not_fit_the_tenants_memory_is_refused() {
    run(async {
        let edge = TestEdge::start().await;
        let limits = json!({
            "memory_mib_max": 256, "instance_memory_mib_max": 64, "request_deadline_ms_max": 60_000,
            "response_head_ms_max": 60_000, "stream_idle_ms_max": 60_000,
        });
        let acme = edge.tenant_limited("full", limits).await;
        acme.upload("large", 1, component("hostile/declares-all-its-memory"))
            .await
            .unwrap();
        acme.route("large.full.test/", "large", None).await.unwrap();
        // Each instance has 64 MiB from its first instruction; four of them are all there is.
        let mut held = Vec::new();
        for number in 1..=4 {
            let mut wire = edge.wire().await;
            wire.send("GET / HTTP/1.1\r\nHost: large.full.test\r\n\r\n")
                .await;
            held.push(wire);
            until("the instance is there", async || {
                (acme.usage().await.memory_bytes >= number * 64 * MIB).then_some(())
            })
            .await;
        }
        let usage = acme.usage().await;
        let due = 256.0 * MIB as f64;
        let off = (usage.memory_bytes as f64 / due - 1.0).abs();
        assert!(off < 0.01, "{} bytes", usage.memory_bytes);
        let fifth = edge.get("large.full.test/ok").await;
        assert_eq!(
            (fifth.status(), fifth.reason(), fifth.header("retry-after")),
            (503, "memory", Some("1"))
        );
        held.pop();
        until("there is memory again", async || {
            (edge.get("large.full.test/ok").await.status() == 200).then_some(())
        })
        .await;
    });
}

#[test]
fn what_is_counted_is_what_the_kernel_has_mapped() {
    run(async {
        let edge = TestEdge::start().await;
        let limits = json!({
            "request_deadline_ms_max": 60_000, "response_head_ms_max": 60_000, "stream_idle_ms_max": 60_000,
        });
        let acme = edge.tenant_limited("counted", limits).await;
        acme.guest("grows-memory").await;
        let worker = edge.status().await.worker.pid;
        assert_eq!(memories(worker), (0, 0), "no instance, no memory");
        let mut held = Vec::new();
        for mib in [1, 7, 20] {
            held.push(holds(&edge, "grows-memory.counted.test", mib).await);
        }
        let counted = memory_settles(&acme, 28 * MIB).await;
        let (mapped, resident) = memories(worker);
        // Tables are counted too: some hundred elements, less than a page.
        assert!(
            counted >= mapped && counted - mapped < 4096,
            "{counted} bytes counted, {mapped} mapped"
        );
        assert!(
            resident >= 28 * MIB && resident <= mapped,
            "{resident} bytes resident"
        );
        drop(held);
        until("all is given back", async || {
            (acme.usage().await.memory_bytes == 0).then_some(())
        })
        .await;
    });
}

/// `(mapped, resident)` bytes of linear memories in a process: what may be written to and lies within address space that
/// may not, with more than a GiB of that behind it (proc_pid_smaps(5)).
fn memories(pid: u32) -> (u64, u64) {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps")).expect("the worker is there");
    let mut areas: Vec<(u64, u64, String, u64)> = Vec::new();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        let first = words.next().unwrap_or_default();
        if let Some((from, to)) = first.split_once('-')
            && let (Ok(from), Ok(to)) = (u64::from_str_radix(from, 16), u64::from_str_radix(to, 16))
        {
            areas.push((from, to, words.next().unwrap_or_default().to_owned(), 0));
        } else if let Some(rest) = line.strip_prefix("Rss:") {
            let kib: u64 = rest
                .trim()
                .trim_end_matches(" kB")
                .parse()
                .expect("a number");
            areas.last_mut().expect("an area comes first").3 = kib << 10;
        }
    }
    let (mut mapped, mut resident) = (0, 0);
    // A memory may be several areas in a row: its image, and what was added.
    let (mut run, mut guarded, mut end) = ((0, 0), false, 0);
    for window in areas.windows(2) {
        let ((from, to, rights, rss), (next, next_to, next_rights, _)) = (&window[0], &window[1]);
        if !rights.starts_with("rw") {
            let is_guard = rights.starts_with("---") && to - from > 16 << 20;
            (run, guarded, end) = ((0, 0), is_guard, *to);
            continue;
        }
        guarded &= end == *from;
        end = *to;
        run = (run.0 + to - from, run.1 + rss);
        if next == to && next_rights.starts_with("rw") {
            continue;
        }
        let guard_follows =
            next == to && next_rights.starts_with("---") && next_to - next > 1 << 30;
        if guarded && guard_follows {
            mapped += run.0;
            resident += run.1;
        }
        run = (0, 0);
    }
    (mapped, resident)
}

#[test]
fn a_guarantee_is_there_when_others_took_all_there_was() {
    run(async {
        let edge = TestEdge::build()
            .set("memory.guests_mib_max", 128)
            .start()
            .await;
        let long = json!({
            "request_deadline_ms_max": 60_000, "response_head_ms_max": 60_000, "stream_idle_ms_max": 60_000,
            "memory_mib_max": 1_024,
        });
        let with = |more: serde_json::Value| {
            let mut limits = long.clone();
            for (key, value) in more.as_object().unwrap() {
                limits[key] = value.clone();
            }
            limits
        };
        let careful = edge
            .tenant_limited("careful", with(json!({ "memory_guaranteed_mib": 48 })))
            .await;
        careful.guest("grows-memory").await;
        let greedy = edge.tenant_limited("greedy", long.clone()).await;
        greedy.guest("grows-memory").await;
        // 80 MiB are nobody's: one instance takes most of that, the next is refused.
        let first = holds(&edge, "grows-memory.greedy.test", 40).await;
        memory_settles(&greedy, 40 * MIB).await;
        let second = edge.get("grows-memory.greedy.test/?mib=50").await;
        assert_eq!(second.status(), 507, "{}", second.text());
        let kept = edge.get("grows-memory.careful.test/?mib=30").await;
        assert_eq!(kept.status(), 200, "{}", kept.text());
        drop(first);

        // What cannot be kept is not promised: 48 of 128 MiB are.
        let refused = edge
            .client()
            .put_tenant(
                &"late".parse().unwrap(),
                &control_api::view::TenantWrite {
                    limits: serde_json::from_value(json!({ "memory_guaranteed_mib": 81 })).unwrap(),
                    ..control_api::view::TenantWrite::default()
                },
                control_api::view::Precondition::None,
            )
            .await;
        let error = refused.unwrap_err().to_string();
        assert!(error.contains("80 MiB can still be guaranteed"), "{error}");
    });
}

#[test]
fn growth_that_is_refused_ends_the_guest_where_that_was_chosen() {
    run(async {
        let edge = TestEdge::start().await;
        for (name, traps, status) in [("answered", 0, 200), ("ended", 1, 502)] {
            let limits = json!({ "memory_refused_traps": traps, "instance_memory_mib_max": 16 });
            let tenant = edge.tenant_limited(name, limits).await;
            tenant
                .upload("guest", 1, component("hostile/grows-page-by-page"))
                .await
                .unwrap();
            tenant
                .route(&format!("{name}.test/"), "guest", None)
                .await
                .unwrap();
            let answer = edge.get(&format!("{name}.test/")).await;
            assert_eq!(answer.status(), status, "{}", answer.text());
            if status == 200 {
                assert!(answer.text().contains("256"), "{}", answer.text());
            } else {
                assert_eq!(answer.reason(), "memory");
            }
        }
    });
}
