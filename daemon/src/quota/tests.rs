//! What a tenant is refused, when, and what it gets back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;
use crate::link::TenantLimits;

fn limits() -> TenantLimits {
    TenantLimits {
        instance_memory_bytes_max: 1 << 20,
        memory_bytes_max: 4 << 20,
        memory_guaranteed_bytes: 0,
        memory_refused_traps: false,
        priority_class: 1,
        instance_handles_max: 100,
        instance_hostcall_bytes_max: 1 << 20,
        request_cpu_ms_max: 50,
        cpu_share: 100,
        cpu_ms_per_s_max: 1000,
        cpu_burst_ms_max: 1000,
        request_deadline_ms_max: 1000,
        response_head_ms_max: 500,
        stream_idle_ms_max: 1000,
        concurrent_requests_max: 2,
        waiting_requests_max: 0,
        waiting_ms_max: 100,
        connections_max: 2,
        requests_per_s_max: 10,
        key_value_calls_per_s_max: 10,
        requests_burst_max: 20,
        request_bytes_per_s_max: 1000,
        response_bytes_per_s_max: 1000,
        url_bytes_max: 100,
        request_header_bytes_max: 100,
        response_header_bytes_max: 100,
        failures_in_a_row_max: 3,
        request_body_bytes_max: 10,
        response_body_bytes_max: 10,
        outbound_per_request_max: 2,
        outbound_at_once_max: 2,
        outbound_connect_ms_max: 100,
        outbound_ms_max: 1000,
        outbound_sent_bytes_max: 10,
        outbound_received_bytes_max: 10,
        log_bytes_per_s_max: 10,
        log_burst_bytes_max: 20,
        log_line_bytes_max: 8,
        suspended: false,
    }
}

fn tenant(limits: TenantLimits, now: Instant) -> Arc<Tenant> {
    let shared = Arc::new(Budget::new(u64::MAX));
    Arc::new(Tenant::new("acme", limits, shared, now))
}

/// A tenant for tests of other rooms.
pub(crate) fn tenant_of_tests() -> Arc<Tenant> {
    tenant(limits(), Instant::now())
}

fn admitted(entry: Result<Entry, Refused>) -> Admission {
    match entry {
        Ok(Entry::Admitted(admission)) => admission,
        Ok(Entry::Queued(_)) => panic!("queued"),
        Err(refused) => panic!("{refused:?}"),
    }
}

fn refused(entry: Result<Entry, Refused>) -> Refused {
    entry.err().expect("a refusal")
}

#[test]
fn a_place_is_given_back_when_the_admission_ends() {
    let now = Instant::now();
    let tenant = tenant(limits(), now);
    let ask = Ask::default();
    let first = admitted(tenant.admit(ask, now));
    let _second = admitted(tenant.admit(ask, now));
    assert_eq!(
        refused(tenant.admit(ask, now)).refusal,
        Refusal::Concurrency
    );
    drop(first);
    let _third = admitted(tenant.admit(ask, now));
    let report = tenant.report(now).unwrap();
    assert_eq!((report.requests, report.concurrent_requests), (3, 2));
    assert_eq!(report.refusals, [("concurrency".to_owned(), 1)]);
}

#[test]
fn who_finds_no_place_waits_for_one() {
    let now = Instant::now();
    let limits = TenantLimits {
        concurrent_requests_max: 1,
        waiting_requests_max: 1,
        ..limits()
    };
    let tenant = tenant(limits.clone(), now);
    let first = admitted(tenant.admit(Ask::default(), now));
    let Ok(Entry::Queued(mut queued)) = tenant.admit(Ask::default(), now) else {
        panic!("not queued");
    };
    assert_eq!(queued.wait_max, Duration::from_millis(100));
    assert_eq!(tenant.report(now).unwrap().waiting_requests, 1);
    assert!(queued.place.try_recv().is_err());
    drop(first);
    let later = now + Duration::from_millis(50);
    let place = queued.place.try_recv().unwrap();
    let admission = queued.admitted(place, later);
    assert_eq!(admission.deadline(), later + Duration::from_secs(1));
    assert_eq!(
        admission.head_deadline(),
        later + Duration::from_millis(500)
    );
}

#[test]
fn sizes_are_bounded_before_anything_is_taken() {
    let now = Instant::now();
    let tenant = tenant(limits(), now);
    let asks = [
        (
            Ask {
                url_bytes: 101,
                ..Ask::default()
            },
            Refusal::Url,
        ),
        (
            Ask {
                header_bytes: 101,
                ..Ask::default()
            },
            Refusal::Header,
        ),
        (
            Ask {
                body_bytes: Some(11),
                ..Ask::default()
            },
            Refusal::Body,
        ),
    ];
    for (ask, refusal) in asks {
        assert_eq!(refused(tenant.admit(ask, now)).refusal, refusal);
    }
    let admission = admitted(tenant.admit(Ask::default(), now));
    let mut taken = 0;
    assert!(Admission::took(&tenant, &mut taken, 10, 10).is_ok());
    assert_eq!(
        Admission::took(&tenant, &mut taken, 1, 10),
        Err(Refusal::Body)
    );
    let mut sent = 0;
    assert!(admission.sends(&mut sent, 10).is_ok());
    assert_eq!(admission.sends(&mut sent, 1), Err(Refusal::ResponseBody));
}

#[test]
fn a_rate_says_when_to_come_back() {
    let now = Instant::now();
    let tenant = tenant(limits(), now);
    for _ in 0..20 {
        drop(admitted(tenant.admit(Ask::default(), now)));
    }
    let refused = refused(tenant.admit(Ask::default(), now));
    assert_eq!(
        refused,
        Refused {
            refusal: Refusal::Rate,
            retry_after_s: Some(1),
            rate: Some(RateState {
                quota: 20,
                window_s: 2,
                remaining: 0,
                reset_s: 2,
            }),
        }
    );
    drop(admitted(
        tenant.admit(Ask::default(), now + Duration::from_millis(100)),
    ));
}

#[test]
fn failures_in_a_row_end_in_a_rest() {
    let mut now = Instant::now();
    let tenant = tenant(limits(), now);
    assert_eq!(tenant.failed(now), None);
    tenant.went_well();
    assert_eq!((tenant.failed(now), tenant.failed(now)), (None, None));
    assert_eq!(tenant.failed(now), Some(Duration::from_secs(1)));
    let resting = refused(tenant.admit(Ask::default(), now));
    assert_eq!(
        (resting.refusal, resting.retry_after_s),
        (Refusal::Quarantined, Some(1))
    );
    assert_eq!(tenant.report(now).unwrap().quarantine_left_ms, 1000);
    now += Duration::from_secs(1);
    drop(admitted(tenant.admit(Ask::default(), now)));
}

#[test]
fn connections_are_counted_by_whom_they_serve() {
    let now = Instant::now();
    let tenant = tenant(limits(), now);
    let first = tenant.connect().ok().unwrap();
    let _second = tenant.connect().ok().unwrap();
    assert_eq!(tenant.connect().err(), Some(Refusal::Connections));
    drop(first);
    assert!(tenant.connect().is_ok());
}

#[test]
fn bodies_wait_once_they_were_faster_than_they_may() {
    let now = Instant::now();
    let tenant = tenant(limits(), now);
    tenant.moved(Direction::Response, 1500, now);
    assert_eq!(tenant.body_wait(Direction::Request, now), None);
    let wait = tenant.body_wait(Direction::Response, now).unwrap();
    assert_eq!(wait, Duration::from_millis(501));
    assert_eq!(tenant.body_wait(Direction::Response, now + wait), None);
}

#[test]
fn limits_change_at_once_and_not_for_requests_under_way() {
    let now = Instant::now();
    let tenant = tenant(limits(), now);
    let under_way = admitted(tenant.admit(Ask::default(), now));
    tenant.set_limits(TenantLimits {
        suspended: true,
        request_deadline_ms_max: 5,
        memory_bytes_max: 100,
        cpu_ms_per_s_max: 1,
        cpu_burst_ms_max: 1,
        ..limits()
    });
    let suspended = refused(tenant.admit(Ask::default(), now));
    assert_eq!(suspended.refusal, Refusal::Suspended);
    assert_eq!(under_way.deadline(), now + Duration::from_secs(1));
    assert!(tenant.memory().take(101).is_err());
    tenant.cpu().charge(Duration::from_millis(2), now);
    assert!(tenant.cpu().wait(now).is_some());
}

#[test]
fn log_lines_are_cut_and_then_dropped() {
    let now = Instant::now();
    let tenant = tenant(limits(), now);
    assert_eq!(tenant.log_allowance(5, now), Some(5));
    assert_eq!(tenant.log_allowance(100, now), Some(8));
    assert_eq!(tenant.log_allowance(8, now), None);
    assert_eq!(tenant.report(now).unwrap().log_bytes_dropped, 92 + 8);
    assert_eq!(tenant.report(now), None);
}
