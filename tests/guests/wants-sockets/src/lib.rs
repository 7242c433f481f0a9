//! Opens a TCP connection by itself, which a host of HTTP guests need not offer.

use wasip2::http::types::{IncomingRequest, ResponseOutparam};
use wasip2::sockets::instance_network::instance_network;
use wasip2::sockets::network::{ErrorCode, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress};
use wasip2::sockets::tcp::{InputStream, OutputStream};
use wasip2::sockets::tcp_create_socket::create_tcp_socket;

struct WantsSockets;

impl wasip2::exports::http::incoming_handler::Guest for WantsSockets {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let port = p2::target(&request).number("port", 9);
        match connect(port.try_into().unwrap_or(9)) {
            Ok(_) => p2::answer(out, 200, "connected\n"),
            Err(code) => p2::answer(out, 502, &format!("{}\n", code.name())),
        }
    }
}

fn connect(port: u16) -> Result<(InputStream, OutputStream), ErrorCode> {
    let socket = create_tcp_socket(IpAddressFamily::Ipv4)?;
    let address = IpSocketAddress::Ipv4(Ipv4SocketAddress {
        port,
        address: (127, 0, 0, 1),
    });
    socket.start_connect(&instance_network(), address)?;
    socket.subscribe().block();
    socket.finish_connect()
}

wasip2::http::proxy::export!(WantsSockets);
