//! Asks a server by hand, over a TCP connection of its own: `/?host=H&port=P` looks H up unless it is an IPv4 address,
//! sends a request, and answers what comes, or 502 and the error's name.

use std::net::Ipv4Addr;

use wasip2::http::types::{IncomingRequest, ResponseOutparam};
use wasip2::io::streams::StreamError;
use wasip2::sockets::instance_network::instance_network;
use wasip2::sockets::ip_name_lookup::resolve_addresses;
use wasip2::sockets::network::{
    ErrorCode, IpAddress, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress,
};
use wasip2::sockets::tcp_create_socket::create_tcp_socket;

const REQUEST: &[u8] = b"GET /by-hand HTTP/1.1\r\nHost: by-hand\r\n\r\n";
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

struct WantsSockets;

impl wasip2::exports::http::incoming_handler::Guest for WantsSockets {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let target = p2::target(&request);
        let host = target.text("host").unwrap_or_else(|| "127.0.0.1".to_owned());
        let port = target.number("port", 9).try_into().unwrap_or(9);
        match ask(&host, port) {
            Ok(answer) => p2::answer(out, 200, &answer),
            Err(code) => p2::answer(out, 502, &format!("{}\n", code.name())),
        }
    }
}

fn ask(host: &str, port: u16) -> Result<String, ErrorCode> {
    let address = match host.parse::<Ipv4Addr>() {
        Ok(address) => address.octets().into(),
        Err(_) => look_up(host)?,
    };
    let socket = create_tcp_socket(IpAddressFamily::Ipv4)?;
    let to = IpSocketAddress::Ipv4(Ipv4SocketAddress { port, address });
    socket.start_connect(&instance_network(), to)?;
    socket.subscribe().block();
    let (input, output) = socket.finish_connect()?;
    let broken = |_: StreamError| ErrorCode::ConnectionAborted;
    output.blocking_write_and_flush(REQUEST).map_err(broken)?;
    let answer = input.blocking_read(ANSWER_BYTES_MAX).map_err(broken)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// The first IPv4 address of a name.
fn look_up(name: &str) -> Result<(u8, u8, u8, u8), ErrorCode> {
    let addresses = resolve_addresses(&instance_network(), name)?;
    loop {
        match addresses.resolve_next_address() {
            Ok(Some(IpAddress::Ipv4(address))) => return Ok(address),
            Ok(Some(IpAddress::Ipv6(_))) => {}
            Ok(None) => return Err(ErrorCode::NameUnresolvable),
            Err(ErrorCode::WouldBlock) => addresses.subscribe().block(),
            Err(code) => return Err(code),
        }
    }
}

wasip2::http::proxy::export!(WantsSockets);
