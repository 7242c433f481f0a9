//! Streams are polled by hand: nothing here waits for time.

use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use proptest::prelude::*;

use super::*;

const START_SEQ: u64 = 1_790_000_000_000_000;
const PLENTY: usize = 1 << 20;

fn rings() -> (LogRings, CancellationToken) {
    let shutdown = CancellationToken::new();
    let started_at = UNIX_EPOCH + Duration::from_micros(START_SEQ);
    (LogRings::new(started_at, shutdown.clone()), shutdown)
}

fn line(tenant: &str, text: &str) -> GuestLine {
    GuestLine {
        tenant: tenant.to_owned(),
        module: "hello".to_owned(),
        request_id: "r1".to_owned(),
        stream: 0,
        at_ms: 5,
        text: text.to_owned(),
    }
}

/// Writes lines into rings of plenty; none may be dropped.
fn write(rings: &LogRings, tenant: &str, texts: &[&str]) {
    let lines = texts.iter().map(|text| line(tenant, text)).collect();
    assert_eq!(rings.take(lines, |_| Some(PLENTY)), 0);
}

fn follow() -> LogQuery {
    LogQuery {
        follow: true,
        ..LogQuery::default()
    }
}

/// What a stream gives without waiting, and whether it then ended.
fn ready(stream: &mut LogLines) -> (Vec<LogLine>, bool) {
    let mut lines = Vec::new();
    loop {
        match stream.next().now_or_never() {
            Some(Some(line)) => lines.push(line),
            Some(None) => return (lines, true),
            None => return (lines, false),
        }
    }
}

/// The next line of a stream that is about to be woken.
async fn soon(stream: &mut LogLines) -> Option<LogLine> {
    tokio::time::timeout(Duration::from_secs(10), stream.next())
        .await
        .expect("the stream was not woken")
}

fn texts(lines: &[LogLine]) -> Vec<&str> {
    lines.iter().map(|line| line.text.as_str()).collect()
}

fn read(rings: &LogRings, tenant: &str, query: &LogQuery) -> Vec<LogLine> {
    let (lines, ended) = ready(&mut rings.read(tenant, query).unwrap());
    assert!(ended, "a stream that does not follow ends");
    lines
}

#[test]
fn lines_are_numbered_from_the_nodes_start_tenant_by_tenant() {
    let (rings, _shutdown) = rings();
    write(&rings, "acme", &["one", "two"]);
    write(&rings, "zeta", &["other"]);
    write(&rings, "acme", &["three"]);
    let lines = read(&rings, "acme", &LogQuery::default());
    let seqs = lines.iter().map(|line| line.seq - START_SEQ);
    assert_eq!(seqs.collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(texts(&lines), ["one", "two", "three"]);
    assert_eq!(
        lines[0],
        LogLine {
            seq: START_SEQ,
            at_ms: 5,
            module: "hello".to_owned(),
            request_id: "r1".to_owned(),
            stream: LogStream::Stdout,
            text: "one".to_owned(),
        }
    );
    assert_eq!(read(&rings, "zeta", &LogQuery::default())[0].seq, START_SEQ);
    assert_eq!(read(&rings, "nobody", &LogQuery::default()), []);
}

#[test]
fn lines_of_unknown_tenants_and_streams_are_dropped_and_counted() {
    let (rings, _shutdown) = rings();
    let odd = GuestLine {
        stream: 3,
        ..line("acme", "odd")
    };
    let lines = vec![line("acme", "one"), line("ghost", "boo"), odd];
    let dropped = rings.take(lines, |tenant| (tenant == "acme").then_some(PLENTY));
    assert_eq!(dropped, 2);
    assert_eq!(texts(&read(&rings, "acme", &LogQuery::default())), ["one"]);
    assert_eq!(read(&rings, "ghost", &LogQuery::default()), []);
    assert_eq!(rings.lock().by_tenant.len(), 1);
}

#[test]
fn a_query_chooses_after_a_number_and_the_newest() {
    let (rings, _shutdown) = rings();
    write(&rings, "acme", &["0", "1", "2", "3", "4"]);
    let cases: [(Option<u64>, Option<usize>, &[&str]); 8] = [
        (None, None, &["0", "1", "2", "3", "4"]),
        (Some(START_SEQ + 2), None, &["3", "4"]),
        (None, Some(2), &["3", "4"]),
        (None, Some(9), &["0", "1", "2", "3", "4"]),
        (None, Some(0), &[]),
        (Some(START_SEQ + 3), Some(4), &["4"]),
        (Some(START_SEQ + 4), None, &[]),
        (Some(u64::MAX), None, &[]),
    ];
    for (after_seq, lines_max, expected) in cases {
        let query = LogQuery {
            after_seq,
            lines_max,
            follow: false,
        };
        assert_eq!(texts(&read(&rings, "acme", &query)), expected, "{query:?}");
    }
}

#[test]
fn a_follower_gets_what_is_there_and_what_comes() {
    let (rings, _shutdown) = rings();
    write(&rings, "acme", &["0", "1"]);
    let query = LogQuery {
        lines_max: Some(1),
        ..follow()
    };
    let mut stream = rings.read("acme", &query).unwrap();
    let (lines, ended) = ready(&mut stream);
    assert_eq!((texts(&lines), ended), (vec!["1"], false));
    write(&rings, "zeta", &["not mine"]);
    assert_eq!(ready(&mut stream), (vec![], false));
    write(&rings, "acme", &["2", "3"]);
    assert_eq!(texts(&ready(&mut stream).0), ["2", "3"]);
}

#[test]
fn a_follower_may_come_before_the_first_line_and_from_the_future() {
    let (rings, _shutdown) = rings();
    let mut early = rings.read("acme", &follow()).unwrap();
    let query = LogQuery {
        after_seq: Some(u64::MAX),
        ..follow()
    };
    let mut future = rings.read("acme", &query).unwrap();
    assert_eq!(ready(&mut early), (vec![], false));
    write(&rings, "acme", &["first"]);
    assert_eq!(texts(&ready(&mut early).0), ["first"]);
    assert_eq!(texts(&ready(&mut future).0), ["first"]);
}

#[tokio::test]
async fn a_waiting_follower_is_woken() {
    let (rings, shutdown) = rings();
    let mut stream = rings.read("acme", &follow()).unwrap();
    let (line, ()) = tokio::join!(soon(&mut stream), async {
        write(&rings, "acme", &["news"]);
    });
    assert_eq!(line.unwrap().text, "news");
    let (end, ()) = tokio::join!(soon(&mut stream), async { shutdown.cancel() });
    assert_eq!(end, None);
}

#[test]
fn a_reader_that_does_not_follow_ends_where_the_ring_ended() {
    let (rings, _shutdown) = rings();
    write(&rings, "acme", &["0", "1"]);
    let mut stream = rings.read("acme", &LogQuery::default()).unwrap();
    write(&rings, "acme", &["2"]);
    let (lines, ended) = ready(&mut stream);
    assert_eq!((texts(&lines), ended), (vec!["0", "1"], true));
}

#[test]
fn a_slow_follower_misses_what_fell_out_and_sees_the_gap() {
    let (rings, _shutdown) = rings();
    let two_lines = 2 * (size_of::<LogLine>() + "hello".len() + "r1".len() + 1);
    let write = |text: &str| {
        let dropped = rings.take(vec![line("acme", text)], |_| Some(two_lines));
        assert_eq!(dropped, 0);
    };
    let mut stream = rings.read("acme", &follow()).unwrap();
    write("0");
    assert_eq!(texts(&ready(&mut stream).0), ["0"]);
    for text in ["1", "2", "3", "4"] {
        write(text);
    }
    let (lines, _) = ready(&mut stream);
    assert_eq!(texts(&lines), ["3", "4"]);
    assert_eq!(lines[0].seq, START_SEQ + 3);
}

#[test]
fn a_line_larger_than_the_ring_leaves_a_gap() {
    let (rings, _shutdown) = rings();
    let write = |text: &str| rings.take(vec![line("acme", text)], |_| Some(400));
    assert_eq!(write("0") + write(&"x".repeat(500)) + write("2"), 0);
    let lines = read(&rings, "acme", &LogQuery::default());
    assert_eq!(texts(&lines), ["2"]);
    assert_eq!(lines[0].seq, START_SEQ + 2);
}

#[test]
fn followers_are_bounded_and_give_their_place_back() {
    let (rings, _shutdown) = rings();
    let mut streams = (0..FOLLOWERS_MAX)
        .map(|_| rings.read("acme", &follow()).unwrap())
        .collect::<Vec<_>>();
    let refused = rings.read("acme", &follow()).err().unwrap();
    assert_eq!(
        refused.to_string(),
        "`log_followers` is reached: 16 allowed"
    );
    assert!(rings.read("acme", &LogQuery::default()).is_ok());
    assert!(rings.read("zeta", &follow()).is_ok());
    streams.pop();
    assert!(rings.read("acme", &follow()).is_ok());
}

#[test]
fn forgetting_ends_the_streams_and_numbers_go_on_above() {
    let (rings, _shutdown) = rings();
    write(&rings, "acme", &["0", "1"]);
    let mut follower = rings.read("acme", &follow()).unwrap();
    let mut reader = rings.read("acme", &LogQuery::default()).unwrap();
    assert_eq!(ready(&mut follower).0.len(), 2);
    rings.forget("acme");
    assert_eq!(ready(&mut follower), (vec![], true));
    assert_eq!(ready(&mut reader), (vec![], true));
    assert_eq!(read(&rings, "acme", &LogQuery::default()), []);
    write(&rings, "acme", &["again"]);
    let lines = read(&rings, "acme", &LogQuery::default());
    assert_eq!(lines[0].seq, START_SEQ + 2);
}

#[test]
fn shutdown_ends_every_stream() {
    let (rings, shutdown) = rings();
    let mut acme = rings.read("acme", &follow()).unwrap();
    let mut zeta = rings.read("zeta", &follow()).unwrap();
    shutdown.cancel();
    assert_eq!(ready(&mut acme), (vec![], true));
    assert_eq!(ready(&mut zeta), (vec![], true));
    assert_eq!(
        ready(&mut rings.read("late", &follow()).unwrap()),
        (vec![], true)
    );
}

#[test]
fn text_cannot_steer_a_terminal() {
    let cases = [
        ("plain \t text, ümläut ✓", "plain \t text, ümläut ✓"),
        ("\x1b[2J\x07", "\\u{1b}[2J\\u{7}"),
        ("a\r\nb\0", "a\\u{d}\\u{a}b\\u{0}"),
        ("\u{9b}31m\u{7f}", "\\u{9b}31m\\u{7f}"),
        (
            "\u{202e}txt\u{2066}\u{2028}",
            "\\u{202e}txt\\u{2066}\\u{2028}",
        ),
    ];
    for (written, expected) in cases {
        assert_eq!(shown(written.to_owned()), expected);
    }
    let (rings, _shutdown) = rings();
    let odd = GuestLine {
        module: "m\n".to_owned(),
        request_id: "\x1b".to_owned(),
        ..line("acme", "ok")
    };
    assert_eq!(rings.take(vec![odd], |_| Some(PLENTY)), 0);
    let lines = read(&rings, "acme", &LogQuery::default());
    assert_eq!(lines[0].module, "m\\u{a}");
    assert_eq!(lines[0].request_id, "\\u{1b}");
}

proptest! {
    #[test]
    fn a_ring_holds_the_newest_lines_that_fit(
        lengths in prop::collection::vec(0..300_usize, 0..60),
        bytes_max in 0..4_000_usize,
    ) {
        let (rings, _shutdown) = rings();
        for length in &lengths {
            let dropped = rings.take(vec![line("acme", &"x".repeat(*length))], |_| Some(bytes_max));
            prop_assert_eq!(dropped, 0);
        }
        let kept = read(&rings, "acme", &LogQuery::default());
        let costs = kept.iter().map(cost_bytes).sum::<usize>();
        prop_assert!(costs <= bytes_max);
        if let Some(ring) = rings.lock().by_tenant.get("acme") {
            prop_assert_eq!(ring.lock().bytes, costs);
        }
        // The newest ones, in order, and the one before them would not have fitted.
        let expected = lengths.iter().enumerate().skip(lengths.len() - kept.len());
        for (line, (index, length)) in kept.iter().zip(expected) {
            prop_assert_eq!(line.seq, START_SEQ + index as u64);
            prop_assert_eq!(line.text.len(), *length);
        }
        if let Some(before) = lengths.len().checked_sub(kept.len() + 1) {
            let cost = size_of::<LogLine>() + "hello".len() + "r1".len() + lengths[before];
            prop_assert!(costs + cost > bytes_max);
        }
    }

    #[test]
    fn shown_text_has_no_control_characters(text in any::<String>()) {
        let shown = shown(text.clone());
        prop_assert!(!shown.chars().any(must_be_escaped));
        prop_assert!(shown.len() <= 6 * text.len());
    }
}
