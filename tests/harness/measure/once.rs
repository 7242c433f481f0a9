//! Single requests, one after the other.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use super::answer::Arriving;

/// Asks each once, one after the other over one connection; gives the time of each in microseconds, sorted.
///
/// # Panics
/// If one is not answered 200.
pub fn each_once(address: SocketAddr, requests: &[Vec<u8>]) -> Vec<u32> {
    let mut stream = TcpStream::connect(address).expect("the node accepts");
    stream.set_nodelay(true).expect("a TCP socket");
    let mut buffer = vec![0; 64 << 10];
    let mut one = |request: &Vec<u8>| {
        let mut arriving = Arriving::default();
        let began = Instant::now();
        stream.write_all(request).expect("the node reads");
        let status = loop {
            let count = stream.read(&mut buffer).expect("the node answers");
            assert!(count > 0, "the connection ended");
            let whole = arriving.take(&buffer[..count]).expect("an answer");
            if let Some(status) = whole {
                break status;
            }
        };
        assert_eq!(status, 200);
        u32::try_from(began.elapsed().as_micros()).unwrap_or(u32::MAX)
    };
    let mut times: Vec<u32> = requests.iter().map(&mut one).collect();
    times.sort_unstable();
    times
}
