//! HTTP/2 by hand: each frame is exactly what the test wrote. Fields are sent without compression, and those that come
//! are not decoded, but for the status.

use crate::wire::Wire;

/// What a connection begins with (RFC 9113 §3.4), with empty settings.
const BEGIN: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// Kinds of frames (RFC 9113 §6).
#[allow(missing_docs, reason = "named as there")]
pub mod kind {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PUSH_PROMISE: u8 = 5;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// The last frame of a stream's half.
pub const END_STREAM: u8 = 1;
/// The last frame of a head.
pub const END_HEADERS: u8 = 4;

/// A frame that came.
#[derive(Debug, Clone)]
pub struct Frame {
    /// See [`kind`].
    pub kind: u8,
    /// See [`END_STREAM`].
    pub flags: u8,
    /// The stream it is of; 0 is the connection.
    pub stream: u32,
    /// The rest.
    pub payload: Vec<u8>,
}

/// A frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("frames are small");
    let mut bytes = length.to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Fields as literals (RFC 7541 §6.2.2), whatever is in them.
pub fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        for text in [name, value] {
            integer(&mut bytes, text.len());
            bytes.extend(text.as_bytes());
        }
    }
    bytes
}

/// Of seven bits (RFC 7541 §5.1).
fn integer(bytes: &mut Vec<u8>, number: usize) {
    if number < 127 {
        return bytes.push(number as u8);
    }
    bytes.push(127);
    let mut rest = number - 127;
    while rest >= 128 {
        bytes.push((rest % 128) as u8 | 128);
        rest /= 128;
    }
    bytes.push(rest as u8);
}

/// The four fields that make a request, for `host/path`.
pub fn ask<'a>(method: &'a str, place: &'a str) -> Vec<(&'a str, &'a str)> {
    let at = place.find('/').expect("a place is host/path");
    let (host, path) = place.split_at(at);
    vec![
        (":method", method),
        (":scheme", "http"),
        (":authority", host),
        (":path", path),
    ]
}

/// A whole head in one frame.
pub fn head(stream: u32, flags: u8, list: &[(&str, &str)]) -> Vec<u8> {
    frame(kind::HEADERS, flags | END_HEADERS, stream, &fields(list))
}

/// How a stream ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// An answer began with this status, where that is one of HPACK's own (RFC 7541, appendix A); 0 is another.
    Answer(u16),
    /// It was reset with this code.
    Reset(u32),
    /// The connection was given up with this code.
    Away(u32),
    /// The connection was closed without a word.
    Closed,
}

impl Frame {
    /// The code of `RST_STREAM` and `GOAWAY`.
    fn code(&self) -> u32 {
        let at = if self.kind == kind::GOAWAY { 4 } else { 0 };
        let code = self.payload.get(at..at + 4).expect("a code");
        u32::from_be_bytes(code.try_into().expect("four bytes"))
    }

    /// The status, or 0: see [`End::Answer`].
    fn status(&self) -> u16 {
        // A change of the table's size may come first.
        let first = self.payload.iter().find(|byte| **byte & 0xe0 != 0x20);
        match first {
            Some(0x88) => 200,
            Some(0x89) => 204,
            Some(0x8c) => 400,
            Some(0x8d) => 404,
            Some(0x8e) => 500,
            _ => 0,
        }
    }
}

impl Wire {
    /// Begins HTTP/2.
    pub async fn begin_frames(&mut self) {
        self.send(BEGIN).await;
    }

    /// Reads a frame; `None` where the connection ends first.
    pub async fn frame(&mut self) -> Option<Frame> {
        while self.read.len() < 9 {
            if !self.more().await {
                return None;
            }
        }
        let header = self.read.split_to(9);
        let length = u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize;
        let stream = [header[5], header[6], header[7], header[8]];
        while self.read.len() < length {
            if !self.more().await {
                return None;
            }
        }
        Some(Frame {
            kind: header[3],
            flags: header[4],
            stream: u32::from_be_bytes(stream),
            payload: self.read.split_to(length).to_vec(),
        })
    }

    /// How a stream goes on, or the connection does if it is given up before.
    pub async fn end_of(&mut self, stream: u32) -> End {
        while let Some(frame) = self.frame().await {
            match frame.kind {
                kind::GOAWAY if frame.code() != 0 => return End::Away(frame.code()),
                kind::HEADERS if frame.stream == stream => return End::Answer(frame.status()),
                kind::RST_STREAM if frame.stream == stream => return End::Reset(frame.code()),
                _ => {}
            }
        }
        End::Closed
    }
}
