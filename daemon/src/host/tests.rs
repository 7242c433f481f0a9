//! What guests may call, called without a guest.

use std::sync::Arc;
use std::time::{Duration, Instant};

use wasmtime::component::Resource;
use wasmtime_wasi::clocks::WasiClocksView as _;
use wasmtime_wasi::p2::DynPollable;
use wasmtime_wasi::random::WasiRandomView as _;
use wasmtime_wasi::{WasiView as _, p2, p3};

use super::clock::ClockResolution;
use super::state::RANDOM_BYTES_MAX;
use super::{Capabilities, GuestLog, GuestOptions, GuestState, GuestStream, Services, Trust};
use crate::engine::InstanceLimits;
use crate::link::ModuleGrants;
use crate::quota::{Budget, TenantMemory};

struct NoLog;

impl GuestLog for NoLog {
    fn line(&self, _stream: GuestStream, _text: &[u8]) {}

    fn word(&self, _text: &str) {}
}

fn state(resolution_us: u32) -> GuestState {
    let shared = Arc::new(Budget::new(u64::MAX));
    let memory = Arc::new(TenantMemory::new(shared, u64::MAX, 0));
    let clocks = ClockResolution::from_us(resolution_us);
    GuestState::new(GuestOptions {
        log: Arc::new(NoLog),
        limits: InstanceLimits::new(1 << 20, false, memory, Arc::default()),
        handles_max: 100,
        hostcall_bytes_max: 1 << 20,
        slice: Arc::default(),
        clocks,
        capabilities: Arc::new(Capabilities::new(
            crate::quota::tests::tenant_of_tests(),
            "module".into(),
            ModuleGrants::default(),
            Services::new(Trust::default()).0,
        )),
        files: None,
    })
}

#[test]
fn random_bytes_are_bounded_per_call_in_both_versions_the_insecure_ones_too() {
    let mut state = state(1000);
    let random = state.random();
    {
        use p2::bindings::random::{insecure::Host as _, random::Host as _};
        let most = random.get_random_bytes(RANDOM_BYTES_MAX).unwrap();
        assert_eq!(most.len() as u64, RANDOM_BYTES_MAX);
        assert!(random.get_random_bytes(RANDOM_BYTES_MAX + 1).is_err());
        assert!(random.get_random_bytes(u64::MAX).is_err());
        let most = random.get_insecure_random_bytes(RANDOM_BYTES_MAX).unwrap();
        assert_eq!(most.len() as u64, RANDOM_BYTES_MAX);
        assert!(
            random
                .get_insecure_random_bytes(RANDOM_BYTES_MAX + 1)
                .is_err()
        );
    }
    {
        // In 0.3 a call may give less than was asked for.
        use p3::bindings::random::{insecure::Host as _, random::Host as _};
        let bytes = random.get_random_bytes(u64::MAX).unwrap();
        assert_eq!(bytes.len() as u64, RANDOM_BYTES_MAX);
        let bytes = random.get_insecure_random_bytes(u64::MAX).unwrap();
        assert_eq!(bytes.len() as u64, RANDOM_BYTES_MAX);
    }
}

#[test]
fn both_versions_show_the_rounded_clocks_and_their_resolution() {
    const STEP_NS: u64 = 5_000_000;
    let mut state = state(5000);
    let mut clocks = state.clocks();
    {
        use p2::bindings::clocks::{monotonic_clock::Host as _, wall_clock};
        assert_eq!(clocks.resolution().unwrap(), STEP_NS);
        assert_eq!(clocks.now().unwrap() % STEP_NS, 0);
        let wall = wall_clock::Host::resolution(&mut clocks).unwrap();
        assert_eq!(u64::from(wall.nanoseconds), STEP_NS);
        let wall = wall_clock::Host::now(&mut clocks).unwrap();
        assert_eq!(u64::from(wall.nanoseconds) % STEP_NS, 0);
    }
    {
        use p3::bindings::clocks::{monotonic_clock::Host as _, system_clock};
        assert_eq!(clocks.get_resolution().unwrap(), STEP_NS);
        assert_eq!(clocks.now().unwrap() % STEP_NS, 0);
        assert_eq!(
            system_clock::Host::get_resolution(&mut clocks).unwrap(),
            STEP_NS
        );
        let wall = system_clock::Host::now(&mut clocks).unwrap();
        assert_eq!(u64::from(wall.nanoseconds) % STEP_NS, 0);
    }
}

#[tokio::test]
async fn a_timer_on_a_rounded_clock_fires_no_earlier_than_asked_and_then_it_is_time() {
    use p2::bindings::clocks::monotonic_clock::Host as _;
    let mut state = state(20_000);
    for ns in [1, 7_000_000, 20_000_000, 33_000_000] {
        let began = Instant::now();
        let mut clocks = state.clocks();
        let mut at = clocks.now().unwrap();
        let due = at + ns;
        let mut turns = 0;
        // As a guest does that does not trust its timer.
        while at < due {
            let pollable = state.clocks().subscribe_instant(due).unwrap();
            wait(&mut state, pollable).await;
            at = state.clocks().now().unwrap();
            turns += 1;
        }
        assert!(turns <= 25, "{turns} turns for {ns} ns");
        // From the step before on, as the guest sees it.
        let passed = began.elapsed() + Duration::from_millis(20);
        assert!(passed.as_nanos() >= u128::from(ns));
        let began = Instant::now();
        let pollable = state.clocks().subscribe_duration(ns).unwrap();
        wait(&mut state, pollable).await;
        assert!(began.elapsed().as_nanos() >= u128::from(ns));
    }
}

async fn wait(state: &mut GuestState, pollable: Resource<DynPollable>) {
    use p2::bindings::io::poll::HostPollable as _;
    state.ctx().table.block(pollable).await.unwrap();
}
