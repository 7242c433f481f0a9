//! `wasi:sockets` 0.2, as far as it is for connections to others: names, and TCP to granted hosts and ports.
//!
//! A guest looks a name up and connects to an address that it was given: the host remembers which names those were, and a
//! grant of any of them is a grant of the connection. Control judges again, by the name, and makes it. Nothing is ever
//! bound or listened on, and options of sockets are taken and have no effect: this process could set none.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::p2::bindings::sockets::network::{
    ErrorCode, IpAddress, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, Ipv6SocketAddress,
    Network,
};
use wasmtime_wasi::p2::pipe::{AsyncReadStream, AsyncWriteStream};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, DynPollable, Pollable, subscribe};
use wasmtime_wasi::runtime::{AbortOnDropJoinHandle, spawn};

use super::key_value::Guest;
use super::outbound::{Failure, Flow, open, resolve};
use super::state::GuestState;
use crate::link::services::Unconnected;

mod generated {
    wasmtime::component::bindgen!({
        path: "wit/wasi-sockets-0.2.12",
        world: "wasi:sockets/host",
        imports: { default: trappable },
        require_store_data_send: true,
        with: {
            "wasi:io": wasmtime_wasi::p2::bindings::io,
            "wasi:clocks": wasmtime_wasi::p2::bindings::clocks,
            "wasi:sockets/network": wasmtime_wasi::p2::bindings::sockets::network,
            "wasi:sockets/tcp.tcp-socket": super::TcpSocket,
            "wasi:sockets/ip-name-lookup.resolve-address-stream": super::Addresses,
        },
    });
}

use generated::wasi::sockets::{ip_name_lookup, tcp, tcp_create_socket};

/// Bytes that a guest may write ahead of what the connection takes.
const WRITE_AHEAD_BYTES: usize = 64 << 10;
/// Most addresses whose names are remembered for one instance, the newest.
const NAMES_MAX: usize = 64;

/// Adds it.
pub(super) fn add_to_linker(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    ip_name_lookup::add_to_linker::<_, Guest>(linker, |state| state)?;
    tcp::add_to_linker::<_, Guest>(linker, |state| state)?;
    tcp_create_socket::add_to_linker::<_, Guest>(linker, |state| state)
}

/// Which names led to which addresses, for one instance.
#[derive(Default)]
pub(super) struct Names(Vec<(IpAddr, Arc<str>)>);

impl Names {
    fn learn(&mut self, address: IpAddr, name: &Arc<str>) {
        if self
            .0
            .iter()
            .any(|(known, of)| *known == address && of == name)
        {
            return;
        }
        if self.0.len() >= NAMES_MAX {
            self.0.remove(0);
        }
        self.0.push((address, Arc::clone(name)));
    }

    /// What the address may be called, the address itself first.
    fn of(&self, address: IpAddr) -> Vec<String> {
        let names = self.0.iter().filter(|(known, _)| *known == address);
        let names = names.map(|(_, name)| name.to_string());
        std::iter::once(address.to_string()).chain(names).collect()
    }
}

/// A socket of a guest.
#[expect(
    unreachable_pub,
    reason = "the bindings, in modules of their own, hand it on"
)]
pub struct TcpSocket {
    family: IpAddressFamily,
    state: State,
}

enum State {
    New,
    Connecting(SocketAddr, AbortOnDropJoinHandle<Result<Flow, Failure>>),
    Settled(SocketAddr, Result<Flow, Failure>),
    Connected(SocketAddr, std::net::TcpStream),
    /// A connection was not made, and none will be.
    Closed,
}

#[wasmtime_wasi::async_trait]
impl Pollable for TcpSocket {
    async fn ready(&mut self) {
        if let State::Connecting(to, connecting) = &mut self.state {
            let outcome = connecting.await;
            self.state = State::Settled(*to, outcome);
        }
    }
}

/// What a name leads to.
#[expect(
    unreachable_pub,
    reason = "the bindings, in modules of their own, hand it on"
)]
pub struct Addresses {
    name: Arc<str>,
    state: Found,
}

enum Found {
    Looking(AbortOnDropJoinHandle<Result<Vec<IpAddr>, Failure>>),
    Some(std::vec::IntoIter<IpAddr>),
    Failed(ErrorCode),
}

#[wasmtime_wasi::async_trait]
impl Pollable for Addresses {
    async fn ready(&mut self) {
        if let Found::Looking(looking) = &mut self.state {
            self.state = match looking.await {
                Ok(found) => Found::Some(found.into_iter()),
                Err(failure) => Found::Failed(code(&failure)),
            };
        }
    }
}

/// Lets what has come settle, and waits for nothing.
fn settle(waits: &mut impl Pollable) {
    let mut ready = waits.ready();
    // Whoever waits does so by its pollable.
    let _: Poll<()> = ready.as_mut().poll(&mut Context::from_waker(Waker::noop()));
}

fn code(failure: &Failure) -> ErrorCode {
    match failure {
        Failure::Unconnected(why) => match why {
            Unconnected::NotGranted(_) | Unconnected::Prohibited(_) => ErrorCode::AccessDenied,
            Unconnected::NoSuchName(_) => ErrorCode::NameUnresolvable,
            Unconnected::Refused(_) => ErrorCode::ConnectionRefused,
            Unconnected::Unreachable(_) => ErrorCode::RemoteUnreachable,
            Unconnected::TimedOut(_) => ErrorCode::Timeout,
            Unconnected::TooMany(_) => ErrorCode::NewSocketLimit,
        },
        Failure::TooMany(_) | Failure::TooManyAtOnce(_) => ErrorCode::NewSocketLimit,
        _ => ErrorCode::Unknown,
    }
}

fn address_of(address: IpSocketAddress) -> SocketAddr {
    match address {
        IpSocketAddress::Ipv4(Ipv4SocketAddress { port, address }) => {
            let (a, b, c, d) = address;
            SocketAddr::from(([a, b, c, d], port))
        }
        IpSocketAddress::Ipv6(Ipv6SocketAddress { port, address, .. }) => {
            let (a, b, c, d, e, f, g, h) = address;
            SocketAddr::from(([a, b, c, d, e, f, g, h], port))
        }
    }
}

fn to_guest(address: IpAddr) -> IpAddress {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            IpAddress::Ipv4((a, b, c, d))
        }
        IpAddr::V6(address) => {
            let [a, b, c, d, e, f, g, h] = address.segments();
            IpAddress::Ipv6((a, b, c, d, e, f, g, h))
        }
    }
}

fn with_port(address: SocketAddr) -> IpSocketAddress {
    match to_guest(address.ip()) {
        IpAddress::Ipv4(ip) => IpSocketAddress::Ipv4(Ipv4SocketAddress {
            port: address.port(),
            address: ip,
        }),
        IpAddress::Ipv6(ip) => IpSocketAddress::Ipv6(Ipv6SocketAddress {
            port: address.port(),
            flow_info: 0,
            address: ip,
            scope_id: 0,
        }),
    }
}

impl ip_name_lookup::Host for &mut GuestState {
    fn resolve_addresses(
        &mut self,
        _network: Resource<Network>,
        name: String,
    ) -> wasmtime::Result<Result<Resource<Addresses>, ErrorCode>> {
        let name = match normal(&name) {
            Some(name) => name,
            None => return Ok(Err(ErrorCode::InvalidArgument)),
        };
        let state = match name.parse::<IpAddr>() {
            Ok(address) => Found::Some(vec![address].into_iter()),
            Err(_) => {
                let (capabilities, log) = (Arc::clone(&self.capabilities), self.outbound().log());
                Found::Looking(spawn(resolve(capabilities, log, name.clone())))
            }
        };
        let name = name.into();
        Ok(Ok(self.table().push(Addresses { name, state })?))
    }
}

/// The form in which names are granted.
fn normal(name: &str) -> Option<String> {
    match name.parse::<IpAddr>() {
        Ok(address) => Some(address.to_canonical().to_string()),
        Err(_) => Some(name.parse::<edge_config::Hostname>().ok()?.to_string()),
    }
}

impl ip_name_lookup::HostResolveAddressStream for &mut GuestState {
    fn resolve_next_address(
        &mut self,
        stream: Resource<Addresses>,
    ) -> wasmtime::Result<Result<Option<IpAddress>, ErrorCode>> {
        let addresses = self.table().get_mut(&stream)?;
        settle(addresses);
        let next = match &mut addresses.state {
            Found::Looking(_) => return Ok(Err(ErrorCode::WouldBlock)),
            Found::Failed(code) => return Ok(Err(*code)),
            Found::Some(found) => found.next(),
        };
        let name = Arc::clone(&addresses.name);
        if let Some(address) = next {
            self.names.learn(address, &name);
        }
        Ok(Ok(next.map(to_guest)))
    }

    fn subscribe(
        &mut self,
        stream: Resource<Addresses>,
    ) -> wasmtime::Result<Resource<DynPollable>> {
        subscribe(self.table(), stream)
    }

    fn drop(&mut self, stream: Resource<Addresses>) -> wasmtime::Result<()> {
        self.table().delete(stream)?;
        Ok(())
    }
}

impl tcp_create_socket::Host for &mut GuestState {
    fn create_tcp_socket(
        &mut self,
        family: IpAddressFamily,
    ) -> wasmtime::Result<Result<Resource<TcpSocket>, ErrorCode>> {
        if self.capabilities.outbound().is_none() {
            return Ok(Err(ErrorCode::AccessDenied));
        }
        let state = State::New;
        Ok(Ok(self.table().push(TcpSocket { family, state })?))
    }
}

impl tcp::Host for &mut GuestState {}

type Answer<T> = wasmtime::Result<Result<T, ErrorCode>>;

impl tcp::HostTcpSocket for &mut GuestState {
    fn start_bind(
        &mut self,
        _: Resource<TcpSocket>,
        _: Resource<Network>,
        _: IpSocketAddress,
    ) -> Answer<()> {
        Ok(Err(ErrorCode::AccessDenied))
    }

    fn finish_bind(&mut self, _: Resource<TcpSocket>) -> Answer<()> {
        Ok(Err(ErrorCode::NotInProgress))
    }

    fn start_connect(
        &mut self,
        socket: Resource<TcpSocket>,
        _network: Resource<Network>,
        to: IpSocketAddress,
    ) -> Answer<()> {
        let to = address_of(to);
        let found = self.table().get(&socket)?;
        if !matches!(found.state, State::New) {
            return Ok(Err(ErrorCode::InvalidState));
        }
        if to.port() == 0 || to.is_ipv4() != matches!(found.family, IpAddressFamily::Ipv4) {
            return Ok(Err(ErrorCode::InvalidArgument));
        }
        let mut names = self.names.of(to.ip().to_canonical()).into_iter();
        let capabilities = Arc::clone(&self.capabilities);
        let granted = names.find(|name| {
            let outbound = capabilities.outbound();
            outbound.is_some_and(|outbound| outbound.covers_tcp(name, to.port()))
        });
        // Control denies it, and says so.
        let host = granted.unwrap_or_else(|| to.ip().to_canonical().to_string());
        let (number, log) = self.outbound().next();
        let connecting = spawn(open(capabilities, log, number, host, to.port()));
        self.table().get_mut(&socket)?.state = State::Connecting(to, connecting);
        Ok(Ok(()))
    }

    fn finish_connect(
        &mut self,
        socket: Resource<TcpSocket>,
    ) -> Answer<(Resource<DynInputStream>, Resource<DynOutputStream>)> {
        let found = self.table().get_mut(&socket)?;
        settle(found);
        match std::mem::replace(&mut found.state, State::Closed) {
            State::Settled(to, Ok(flow)) => {
                let Flow {
                    received,
                    sent,
                    handle,
                } = flow;
                found.state = State::Connected(to, handle);
                let input: DynInputStream = Box::new(AsyncReadStream::new(received));
                let output: DynOutputStream =
                    Box::new(AsyncWriteStream::new(WRITE_AHEAD_BYTES, sent));
                // Not as children of the socket: a guest may drop it and keep them.
                let input = self.table().push(input)?;
                let output = self.table().push(output)?;
                Ok(Ok((input, output)))
            }
            State::Settled(_, Err(failure)) => Ok(Err(code(&failure))),
            still @ State::Connecting(..) => {
                found.state = still;
                Ok(Err(ErrorCode::WouldBlock))
            }
            other => {
                found.state = other;
                Ok(Err(ErrorCode::NotInProgress))
            }
        }
    }

    fn start_listen(&mut self, _: Resource<TcpSocket>) -> Answer<()> {
        Ok(Err(ErrorCode::AccessDenied))
    }

    fn finish_listen(&mut self, _: Resource<TcpSocket>) -> Answer<()> {
        Ok(Err(ErrorCode::NotInProgress))
    }

    fn accept(
        &mut self,
        _: Resource<TcpSocket>,
    ) -> Answer<(
        Resource<TcpSocket>,
        Resource<DynInputStream>,
        Resource<DynOutputStream>,
    )> {
        Ok(Err(ErrorCode::InvalidState))
    }

    /// What a connection looks like from the other side says where the node stands.
    fn local_address(&mut self, _: Resource<TcpSocket>) -> Answer<IpSocketAddress> {
        Ok(Err(ErrorCode::NotSupported))
    }

    fn remote_address(&mut self, socket: Resource<TcpSocket>) -> Answer<IpSocketAddress> {
        Ok(match &self.table().get(&socket)?.state {
            State::Connected(to, _) => Ok(with_port(*to)),
            _ => Err(ErrorCode::InvalidState),
        })
    }

    fn is_listening(&mut self, _: Resource<TcpSocket>) -> wasmtime::Result<bool> {
        Ok(false)
    }

    fn address_family(&mut self, socket: Resource<TcpSocket>) -> wasmtime::Result<IpAddressFamily> {
        Ok(self.table().get(&socket)?.family)
    }

    fn set_listen_backlog_size(&mut self, _: Resource<TcpSocket>, _: u64) -> Answer<()> {
        Ok(Ok(()))
    }

    fn keep_alive_enabled(&mut self, _: Resource<TcpSocket>) -> Answer<bool> {
        Ok(Ok(false))
    }

    fn set_keep_alive_enabled(&mut self, _: Resource<TcpSocket>, _: bool) -> Answer<()> {
        Ok(Ok(()))
    }

    fn keep_alive_idle_time(&mut self, _: Resource<TcpSocket>) -> Answer<u64> {
        Ok(Err(ErrorCode::NotSupported))
    }

    fn set_keep_alive_idle_time(&mut self, _: Resource<TcpSocket>, time: u64) -> Answer<()> {
        Ok(taken(time))
    }

    fn keep_alive_interval(&mut self, _: Resource<TcpSocket>) -> Answer<u64> {
        Ok(Err(ErrorCode::NotSupported))
    }

    fn set_keep_alive_interval(&mut self, _: Resource<TcpSocket>, time: u64) -> Answer<()> {
        Ok(taken(time))
    }

    fn keep_alive_count(&mut self, _: Resource<TcpSocket>) -> Answer<u32> {
        Ok(Err(ErrorCode::NotSupported))
    }

    fn set_keep_alive_count(&mut self, _: Resource<TcpSocket>, count: u32) -> Answer<()> {
        Ok(taken(count.into()))
    }

    fn hop_limit(&mut self, _: Resource<TcpSocket>) -> Answer<u8> {
        Ok(Err(ErrorCode::NotSupported))
    }

    fn set_hop_limit(&mut self, _: Resource<TcpSocket>, hops: u8) -> Answer<()> {
        Ok(taken(hops.into()))
    }

    fn receive_buffer_size(&mut self, _: Resource<TcpSocket>) -> Answer<u64> {
        Ok(Ok(WRITE_AHEAD_BYTES as u64))
    }

    fn set_receive_buffer_size(&mut self, _: Resource<TcpSocket>, bytes: u64) -> Answer<()> {
        Ok(taken(bytes))
    }

    fn send_buffer_size(&mut self, _: Resource<TcpSocket>) -> Answer<u64> {
        Ok(Ok(WRITE_AHEAD_BYTES as u64))
    }

    fn set_send_buffer_size(&mut self, _: Resource<TcpSocket>, bytes: u64) -> Answer<()> {
        Ok(taken(bytes))
    }

    fn subscribe(
        &mut self,
        socket: Resource<TcpSocket>,
    ) -> wasmtime::Result<Resource<DynPollable>> {
        subscribe(self.table(), socket)
    }

    fn shutdown(&mut self, socket: Resource<TcpSocket>, which: tcp::ShutdownType) -> Answer<()> {
        let State::Connected(_, handle) = &self.table().get(&socket)?.state else {
            return Ok(Err(ErrorCode::InvalidState));
        };
        let which = match which {
            tcp::ShutdownType::Receive => std::net::Shutdown::Read,
            tcp::ShutdownType::Send => std::net::Shutdown::Write,
            tcp::ShutdownType::Both => std::net::Shutdown::Both,
        };
        // One that has ended by itself is closed already.
        let _ = handle.shutdown(which);
        Ok(Ok(()))
    }

    fn drop(&mut self, socket: Resource<TcpSocket>) -> wasmtime::Result<()> {
        self.table().delete(socket)?;
        Ok(())
    }
}

/// An option that this process cannot set, and that changes nothing of what is sent.
fn taken(value: u64) -> Result<(), ErrorCode> {
    if value == 0 {
        Err(ErrorCode::InvalidArgument)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_called_by_what_led_to_it_and_the_oldest_names_are_forgotten() {
        let mut names = Names::default();
        let address: IpAddr = "192.0.2.1".parse().unwrap();
        for name in ["a.test", "b.test", "a.test"] {
            names.learn(address, &name.into());
        }
        assert_eq!(names.of(address), ["192.0.2.1", "a.test", "b.test"]);
        for number in 0..NAMES_MAX {
            names.learn(address, &format!("{number}.test").into());
        }
        assert_eq!(names.0.len(), NAMES_MAX);
        assert!(!names.of(address).contains(&"a.test".to_owned()));
        assert_eq!(names.of("192.0.2.2".parse().unwrap()), ["192.0.2.2"]);
    }
}
