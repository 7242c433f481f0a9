//! HTTP/2 frame by frame: what no client may send (RFC 9113), and whether a guest sees a request that is none.

use littoral_tests::frames::{END_HEADERS, END_STREAM, End, ask, fields, frame, head, kind};
use littoral_tests::{TestEdge, Wire, run, until};

use crate::tenant;

const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const STREAM_CLOSED: u32 = 5;
const FRAME_SIZE_ERROR: u32 = 6;
const COMPRESSION_ERROR: u32 = 9;

/// What is broken, by which frames, and the codes that say so.
type Case<'a> = (&'a str, Vec<Vec<u8>>, &'a [u32]);

/// A connection on which HTTP/2 has begun.
async fn begun(edge: &TestEdge) -> Wire {
    let mut wire = edge.wire().await;
    wire.begin_frames().await;
    wire
}

/// What comes of these frames for the first stream.
async fn outcome(edge: &TestEdge, frames: &[Vec<u8>]) -> End {
    let mut wire = begun(edge).await;
    // It may be closed before all of it is sent.
    let _ = wire.try_send(frames.concat()).await;
    wire.end_of(1).await
}

/// The fields of a request with some more, or others.
fn with<'a>(place: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut list = ask("POST", place);
    list.extend(more);
    list
}

#[test]
fn a_request_that_is_malformed_reaches_no_guest() {
    run(async {
        let (edge, acme) = tenant("h2-malformed", &["echo"]).await;
        let place = "echo.h2-malformed.test/";
        let without = |name: &str| {
            let mut list = ask("POST", place);
            list.retain(|(field, _)| *field != name);
            list
        };
        let instead = |name: &'static str, value: &'static str| {
            let mut list = without(name);
            list.insert(0, (name, value));
            list
        };
        let cases: Vec<(&str, Vec<(&str, &str)>)> = vec![
            ("no method", without(":method")),
            ("no scheme", without(":scheme")),
            ("no path", without(":path")),
            ("no authority and no host", without(":authority")),
            ("an empty path", instead(":path", "")),
            ("a path that is none", instead(":path", "no/slash")),
            (
                "a path with a space",
                instead(":path", "/ HTTP/1.1\r\nX: y"),
            ),
            (
                "a method with a line end",
                instead(":method", "GET / HTTP/1.1\r\nX: y\r\n\r\nGET"),
            ),
            (
                "an authority of somebody",
                instead(":authority", "user@echo.h2-malformed.test"),
            ),
            (
                "an authority with a path",
                instead(":authority", "echo.h2-malformed.test/x"),
            ),
            (
                "an authority with a line end",
                instead(":authority", "echo.h2-malformed.test\r\nX: y"),
            ),
            ("a scheme that is not ours", instead(":scheme", "ftp")),
            (
                "a scheme with an authority",
                instead(":scheme", "http://echo.h2-malformed.test/"),
            ),
            ("two methods", with(place, &[(":method", "GET")])),
            ("two paths", with(place, &[(":path", "/other")])),
            (
                "two authorities",
                with(place, &[(":authority", "other.test")]),
            ),
            (
                "a pseudo field after another",
                with(place, &[("x-a", "b"), (":path", "/")]),
            ),
            (
                "a pseudo field of answers",
                with(place, &[(":status", "200")]),
            ),
            ("an unknown pseudo field", with(place, &[(":unknown", "a")])),
            (
                "a protocol that was not offered",
                with(place, &[(":protocol", "websocket")]),
            ),
            ("another host", with(place, &[("host", "other.test")])),
            (
                "two hosts",
                with(
                    place,
                    &[
                        ("host", "echo.h2-malformed.test"),
                        ("host", "echo.h2-malformed.test"),
                    ],
                ),
            ),
            ("connection", with(place, &[("connection", "close")])),
            ("keep-alive", with(place, &[("keep-alive", "timeout=5")])),
            (
                "proxy-connection",
                with(place, &[("proxy-connection", "close")]),
            ),
            (
                "transfer-encoding",
                with(place, &[("transfer-encoding", "chunked")]),
            ),
            ("upgrade", with(place, &[("upgrade", "h2c")])),
            ("te", with(place, &[("te", "chunked")])),
            ("an upper-case name", with(place, &[("X-Upper", "a")])),
            ("an empty name", with(place, &[("", "a")])),
            ("a name with a space", with(place, &[("x a", "b")])),
            ("a name with a colon", with(place, &[("x:a", "b")])),
            ("a name with a line end", with(place, &[("x\r\ny", "b")])),
            (
                "a value with a line end",
                with(place, &[("x-a", "b\r\ntransfer-encoding: chunked")]),
            ),
            (
                "a value with a line feed",
                with(place, &[("x-a", "b\nc: d")]),
            ),
            ("a value with a NUL", with(place, &[("x-a", "b\0c")])),
            (
                "a length that is none",
                with(place, &[("content-length", "+5")]),
            ),
            (
                "a negative length",
                with(place, &[("content-length", "-1")]),
            ),
            ("a length in hex", with(place, &[("content-length", "0x5")])),
            (
                "a length beyond all",
                with(place, &[("content-length", "99999999999999999999")]),
            ),
            (
                "two lengths",
                with(place, &[("content-length", "5"), ("content-length", "6")]),
            ),
            (
                "two lengths in one",
                with(place, &[("content-length", "5, 6")]),
            ),
        ];
        for (what, list) in cases {
            let frames = [
                head(1, 0, &list),
                frame(kind::DATA, END_STREAM, 1, b"hello"),
            ];
            let end = outcome(&edge, &frames).await;
            assert!(
                matches!(
                    end,
                    End::Reset(PROTOCOL_ERROR) | End::Away(_) | End::Answer(400)
                ),
                "{what}: {end:?}"
            );
            assert_eq!(acme.usage().await.requests, 0, "{what}: a guest was asked");
        }
        let sound = with(place, &[("te", "trailers"), ("content-length", "5")]);
        let frames = [
            head(1, 0, &sound),
            frame(kind::DATA, END_STREAM, 1, b"hello"),
        ];
        assert_eq!(outcome(&edge, &frames).await, End::Answer(200));
    });
}

/// What the guest of `echo` got of a body, as far as it could tell anybody.
#[test]
fn a_body_of_another_length_than_was_declared_is_none_that_a_guest_takes_for_whole() {
    run(async {
        let (edge, _) = tenant("h2-lengths", &["echo", "echo-p3"]).await;
        for guest in ["echo", "echo-p3"] {
            let place = format!("{guest}.h2-lengths.test/");
            for (declared, pieces) in [
                ("4", vec!["hello"]),
                ("0", vec!["hello"]),
                ("6", vec!["hello"]),
                ("6", vec!["hel", "lo"]),
                ("5", vec![]),
                ("5", vec!["hel", "lo", "x"]),
            ] {
                let list = with(&place, &[("content-length", declared)]);
                let last = if pieces.is_empty() { END_STREAM } else { 0 };
                let mut frames = vec![head(1, last, &list)];
                for (number, piece) in pieces.iter().enumerate() {
                    let flags = if number + 1 == pieces.len() {
                        END_STREAM
                    } else {
                        0
                    };
                    frames.push(frame(kind::DATA, flags, 1, piece.as_bytes()));
                }
                let mut wire = begun(&edge).await;
                wire.send(frames.concat()).await;
                let mut ended_well = false;
                while let Some(came) = wire.frame().await {
                    let ours = came.stream == 1;
                    if ours && came.kind != kind::RST_STREAM && came.flags & END_STREAM > 0 {
                        ended_well = came.kind == kind::DATA || came.payload.first() == Some(&0x88);
                    }
                    if came.kind == kind::GOAWAY
                        || ours && (came.kind == kind::RST_STREAM || came.flags & END_STREAM > 0)
                    {
                        break;
                    }
                }
                assert!(!ended_well, "{guest}: {declared} for {pieces:?}");
            }
        }
    });
}

#[test]
fn frames_that_break_the_protocol_end_the_connection_and_no_other() {
    run(async {
        let (edge, acme) = tenant("h2-frames", &["echo"]).await;
        let place = "echo.h2-frames.test/";
        let list = ask("POST", place);
        let block = fields(&list);
        let open = head(1, 0, &list);
        let data = |flags: u8, payload: &[u8]| frame(kind::DATA, flags, 1, payload);
        let setting = |id: u16, value: u32| {
            let mut payload = id.to_be_bytes().to_vec();
            payload.extend(value.to_be_bytes());
            frame(kind::SETTINGS, 0, 0, &payload)
        };
        let window =
            |stream: u32, by: u32| frame(kind::WINDOW_UPDATE, 0, stream, &by.to_be_bytes());
        let protocol: &[u32] = &[PROTOCOL_ERROR];
        let size: &[u32] = &[FRAME_SIZE_ERROR, PROTOCOL_ERROR];
        // The sections of RFC 9113 that they break. For heads that do not decode the library says less than it could.
        let cases: Vec<Case<'_>> = vec![
            (
                "4.1 length",
                vec![frame(kind::DATA, 0, 0, &vec![0; 17 << 10])],
                size,
            ),
            (
                "4.2 head too large for a frame",
                vec![frame(kind::HEADERS, END_HEADERS, 1, &vec![0; 17 << 10])],
                size,
            ),
            (
                "4.3 head that does not decode",
                vec![frame(
                    kind::HEADERS,
                    END_HEADERS,
                    1,
                    &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
                )],
                &[COMPRESSION_ERROR, PROTOCOL_ERROR],
            ),
            (
                "4.3 no such field",
                vec![frame(kind::HEADERS, END_HEADERS, 1, &[0xbf])],
                &[COMPRESSION_ERROR, PROTOCOL_ERROR],
            ),
            ("5.1 data on an idle stream", vec![data(0, b"x")], protocol),
            (
                "5.1 reset of an idle stream",
                vec![frame(kind::RST_STREAM, 0, 1, &[0; 4])],
                protocol,
            ),
            ("5.1 window of an idle stream", vec![window(1, 1)], protocol),
            (
                "5.1 data after the end",
                vec![head(1, END_STREAM, &list), data(0, b"x")],
                &[STREAM_CLOSED, PROTOCOL_ERROR],
            ),
            (
                "5.1.1 an even stream",
                vec![head(2, END_STREAM, &list)],
                protocol,
            ),
            (
                "5.1.1 a lower stream",
                vec![head(5, END_STREAM, &list), head(3, END_STREAM, &list)],
                protocol,
            ),
            (
                "6.1 data on no stream",
                vec![frame(kind::DATA, 0, 0, b"x")],
                protocol,
            ),
            (
                "6.1 more padding than data",
                vec![open.clone(), data(8, &[5, 0])],
                protocol,
            ),
            (
                "6.2 head on no stream",
                vec![frame(kind::HEADERS, END_HEADERS, 0, &block)],
                protocol,
            ),
            (
                "6.2 another frame amid a head",
                vec![
                    frame(kind::HEADERS, 0, 1, &block[..5]),
                    frame(kind::PING, 0, 0, &[0; 8]),
                ],
                protocol,
            ),
            (
                "6.2 another stream amid a head",
                vec![
                    frame(kind::HEADERS, 0, 1, &block[..5]),
                    frame(kind::CONTINUATION, END_HEADERS, 3, &block[5..]),
                ],
                protocol,
            ),
            (
                "6.4 reset of no stream",
                vec![frame(kind::RST_STREAM, 0, 0, &[0; 4])],
                protocol,
            ),
            (
                "6.4 reset of another size",
                vec![open.clone(), frame(kind::RST_STREAM, 0, 1, &[0; 3])],
                size,
            ),
            (
                "6.5 settings of a stream",
                vec![frame(kind::SETTINGS, 0, 1, &[])],
                protocol,
            ),
            (
                "6.5 settings of another size",
                vec![frame(kind::SETTINGS, 0, 0, &[0; 5])],
                size,
            ),
            (
                "6.5 an answer with settings",
                vec![frame(kind::SETTINGS, 1, 0, &[0; 6])],
                size,
            ),
            ("6.5.2 push that is neither", vec![setting(2, 2)], protocol),
            (
                "6.5.2 a window beyond all",
                vec![setting(4, 1 << 31)],
                &[FLOW_CONTROL_ERROR, PROTOCOL_ERROR],
            ),
            ("6.5.2 frames too small", vec![setting(5, 100)], protocol),
            (
                "6.5.2 frames too large",
                vec![setting(5, 1 << 24)],
                protocol,
            ),
            (
                "6.6 a push by a client",
                vec![
                    open.clone(),
                    frame(kind::PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2]),
                ],
                protocol,
            ),
            (
                "6.7 ping of a stream",
                vec![frame(kind::PING, 0, 1, &[0; 8])],
                protocol,
            ),
            (
                "6.7 ping of another size",
                vec![frame(kind::PING, 0, 0, &[0; 7])],
                size,
            ),
            (
                "6.8 goodbye of a stream",
                vec![frame(kind::GOAWAY, 0, 1, &[0; 8])],
                protocol,
            ),
            ("6.9 a window by nothing", vec![window(0, 0)], protocol),
            (
                "6.9 a window of another size",
                vec![frame(kind::WINDOW_UPDATE, 0, 0, &[0; 3])],
                size,
            ),
            (
                "6.9.1 a window beyond all",
                vec![window(0, (1 << 31) - 1)],
                &[FLOW_CONTROL_ERROR],
            ),
            (
                "6.10 a rest without a head",
                vec![frame(kind::CONTINUATION, END_HEADERS, 1, &block)],
                protocol,
            ),
            (
                "6.10 a rest after the head",
                vec![
                    open.clone(),
                    frame(kind::CONTINUATION, END_HEADERS, 1, &block),
                ],
                protocol,
            ),
        ];
        let mut neighbour = begun(&edge).await;
        for (number, (what, frames, codes)) in cases.iter().enumerate() {
            let mut wire = begun(&edge).await;
            let _ = wire.try_send(frames.concat()).await;
            let mut end = wire.end_of(0).await;
            // Of a stream alone, where the protocol leaves it at that.
            if end == End::Closed {
                end = outcome(&edge, frames).await;
            }
            assert!(
                matches!(&end, End::Away(code) | End::Reset(code) if codes.contains(code))
                    || end == End::Closed,
                "{what}: {end:?}"
            );
            let stream = 2 * number as u32 + 1;
            let sound = [
                head(stream, 0, &list),
                frame(kind::DATA, END_STREAM, stream, b"x"),
            ];
            neighbour.send(sound.concat()).await;
            assert_eq!(neighbour.end_of(stream).await, End::Answer(200), "{what}");
        }
        until("no guest is left", async || {
            (acme.usage().await.concurrent_requests == 0).then_some(())
        })
        .await;
    });
}

#[test]
fn frames_that_mean_nothing_are_passed_over() {
    run(async {
        let (edge, _) = tenant("h2-unknown", &["echo"]).await;
        let list = ask("POST", "echo.h2-unknown.test/");
        let block = fields(&list);
        let (first, rest) = block.split_at(7);
        // A priority, padding, a head in pieces, an unknown kind and an unknown setting.
        let frames = [
            frame(kind::PRIORITY, 0, 1, &[0, 0, 0, 0, 1]),
            frame(kind::HEADERS, 0, 1, first),
            frame(kind::CONTINUATION, END_HEADERS, 1, rest),
            frame(200, 0, 1, b"whatever"),
            frame(kind::SETTINGS, 0, 0, &[0, 99, 0, 0, 0, 1]),
            frame(kind::DATA, 8 | END_STREAM, 1, &[3, b'h', b'i', 0, 0, 0]),
        ];
        let mut wire = begun(&edge).await;
        wire.send(frames.concat()).await;
        assert_eq!(wire.end_of(1).await, End::Answer(200));
        let mut body = Vec::new();
        while let Some(came) = wire.frame().await {
            if came.kind == kind::DATA {
                body.extend(came.payload);
                if came.flags & END_STREAM > 0 {
                    break;
                }
            }
        }
        assert_eq!(body, b"hi");
    });
}
