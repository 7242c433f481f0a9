//! Handshakes: bounded in number and time, computed on threads of their own.
//!
//! What waits for the network (the client's hello, its last words) waits on the thread that owns the connection, like
//! everything else there. What computes, and asks control for a signature meanwhile, is the step from the client's hello
//! to the server's answer: it runs on one of a few threads that do nothing else and may block. The session then comes
//! back to the connection's thread, and stays there.

use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustls::server::{Acceptor, ClientHello, ServerConnection};
use rustls::{Error, HandshakeKind, SignatureScheme};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio_rustls::server::TlsStream;
use tokio_rustls::{LazyConfigAcceptor, StartHandshake, TlsAcceptor};

use super::super::clients::{ClientPlace, Clients};
use super::certificates::Served;
use super::outcome::{Counts, HandshakeOutcome};
use super::remote_key::{UNSIGNED, ask_over};
use crate::link::HandshakeCounts;
use crate::link::signing::Asking;

/// A fatal alert in the clear (RFC 8446 §§5.1 and 6): `unrecognized_name` (RFC 6066 §3).
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

type Job = Box<dyn FnOnce() + Send>;

/// The handshakes of a worker, and the threads that compute them.
pub struct Handshakes {
    places: Arc<Semaphore>,
    places_max: usize,
    /// How many of them a client has.
    clients: Arc<Clients>,
    jobs: SyncSender<Job>,
    longest: Duration,
    counts: Counts,
}

/// A connection after its handshake.
pub(in crate::gateway) struct Secured {
    pub(in crate::gateway) stream: TlsStream<TcpStream>,
    /// What it was served with.
    pub(in crate::gateway) certificate: Arc<Served>,
}

impl Handshakes {
    /// Starts a thread for each socket to control, before no more may be started. At most `places_max` handshakes are
    /// under way at once, a quarter of them of one client, each for at most `longest`.
    ///
    /// # Errors
    /// If a thread does not start.
    pub fn start(
        sockets: Vec<OwnedFd>,
        places_max: usize,
        longest: Duration,
    ) -> io::Result<Arc<Self>> {
        // A handshake that has a place has at most one job: there is always room.
        let (jobs, queue) = sync_channel(places_max);
        let queue = Arc::new(Mutex::new(queue));
        for (number, socket) in sockets.into_iter().enumerate() {
            let queue = Arc::clone(&queue);
            std::thread::Builder::new()
                .name(format!("handshakes-{number}"))
                .spawn(move || {
                    ask_over(Asking::new(socket));
                    compute(&queue);
                })?;
        }
        Ok(Arc::new(Self {
            places: Arc::new(Semaphore::new(places_max)),
            places_max,
            clients: Clients::new(u32::try_from(places_max / 4).unwrap_or(u32::MAX).max(1)),
            jobs,
            longest,
            counts: Counts::default(),
        }))
    }

    /// What was counted since the last call.
    #[must_use]
    pub fn take_counts(&self) -> HandshakeCounts {
        let under_way = self.places_max - self.places.available_permits().min(self.places_max);
        self.counts.take(under_way as u64)
    }

    /// Shakes hands on a new connection; `client` is whose it is, unless it brings the connections of many, `find` says which certificate a server name gets. `None`, counted, where that
    /// came to nothing: the connection is closed, after an alert where there was one to send.
    ///
    /// # Cancel safety
    /// Dropped, it closes the connection; what is computed for it meanwhile is computed to its end.
    pub(in crate::gateway) async fn secure(
        &self,
        stream: TcpStream,
        client: Option<IpAddr>,
        find: impl FnOnce(&str, &[SignatureScheme]) -> Option<Arc<Served>>,
    ) -> Option<Secured> {
        let began = Instant::now();
        let (outcome, secured) = match self.place(client) {
            None => (HandshakeOutcome::Busy, None),
            // Given back with the handshake's end.
            Some(_place) => {
                match tokio::time::timeout(self.longest, self.shake(stream, find)).await {
                    Err(_) => (HandshakeOutcome::TimedOut, None),
                    Ok(Err(outcome)) => (outcome, None),
                    Ok(Ok((secured, outcome))) => (outcome, Some(secured)),
                }
            }
        };
        self.counts.ended(outcome, began.elapsed());
        secured
    }

    /// A place among the handshakes under way, and among those of the client: one that says nothing must not keep all
    /// others out.
    fn place(&self, client: Option<IpAddr>) -> Option<(OwnedSemaphorePermit, Option<ClientPlace>)> {
        let own = match client {
            Some(client) => Some(self.clients.enter(client)?),
            None => None,
        };
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        Some((place, own))
    }

    async fn shake(
        &self,
        stream: TcpStream,
        find: impl FnOnce(&str, &[SignatureScheme]) -> Option<Arc<Served>>,
    ) -> Result<(Secured, HandshakeOutcome), HandshakeOutcome> {
        let hello = LazyConfigAcceptor::new(Acceptor::default(), stream).await;
        let StartHandshake { accepted, io, .. } = hello.map_err(|error| outcome_of(&error))?;
        let found = choose(&accepted.client_hello(), find);
        let certificate = match found {
            Ok(certificate) => certificate,
            Err(outcome) => {
                // One try: a client that takes nothing learns nothing.
                let _ = io.try_write(&UNRECOGNIZED_NAME);
                return Err(outcome);
            }
        };
        let config = Arc::clone(&certificate.config);
        let computed = {
            let config = Arc::clone(&config);
            self.compute(move || accepted.into_connection(config)).await
        };
        let connection = computed?.map_err(|(error, mut alert)| {
            let _ = alert.write(&mut Direct(&io));
            outcome_of_tls(&error)
        })?;
        let connection =
            if connection.handshake_kind() == Some(HandshakeKind::FullWithHelloRetryRequest) {
                self.hello_again(&io, connection).await?
            } else {
                connection
            };
        // A session of its own, which it would have made from the configuration, gives way to the one that is there.
        let rest = TlsAcceptor::from(config).accept_with(io, |session| *session = connection);
        let stream = rest.await.map_err(|error| outcome_of(&error))?;
        let (_, session) = stream.get_ref();
        let outcome = match session.handshake_kind() {
            Some(HandshakeKind::Resumed) => HandshakeOutcome::Resumed,
            _ => HandshakeOutcome::Full,
        };
        Ok((
            Secured {
                stream,
                certificate,
            },
            outcome,
        ))
    }

    /// The client offered no key of a group that is spoken here, and was asked for one (RFC 8446 §4.1.4): its second
    /// hello is what computes and signs.
    async fn hello_again(
        &self,
        io: &TcpStream,
        mut session: ServerConnection,
    ) -> Result<ServerConnection, HandshakeOutcome> {
        loop {
            while session.wants_write() {
                io.writable().await.map_err(|_| HandshakeOutcome::Gone)?;
                match session.write_tls(&mut Direct(io)) {
                    Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                        return Err(HandshakeOutcome::Gone);
                    }
                    _ => {}
                }
            }
            io.readable().await.map_err(|_| HandshakeOutcome::Gone)?;
            match session.read_tls(&mut Direct(io)) {
                Ok(0) => return Err(HandshakeOutcome::Gone),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(_) => return Err(HandshakeOutcome::Gone),
            }
            let (processed, back) = self
                .compute(move || (session.process_new_packets().map(|_| ()), session))
                .await?;
            session = back;
            if let Err(error) = processed {
                let _ = session.write_tls(&mut Direct(io));
                return Err(outcome_of_tls(&error));
            }
            // Something to say again: that is the answer to the second hello.
            if session.wants_write() {
                return Ok(session);
            }
        }
    }

    /// Runs `work` on one of the threads for handshakes.
    async fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, HandshakeOutcome> {
        let (sender, done) = oneshot::channel();
        let job = Box::new(move || {
            // Whoever waited may be gone: out of time, or with its client.
            if !sender.is_closed() {
                let _ = sender.send(work());
            }
        });
        self.jobs
            .try_send(job)
            .map_err(|_| HandshakeOutcome::Busy)?;
        done.await.map_err(|_| HandshakeOutcome::Failed)
    }
}

/// A thread's whole life.
fn compute(queue: &Mutex<Receiver<Job>>) {
    loop {
        // Held while nothing is there to be done: the others stand in line behind it.
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        match job {
            // A fault in one handshake must not cost a thread, and with it all others.
            Ok(job) => drop(catch_unwind(AssertUnwindSafe(job))),
            Err(_) => return,
        }
    }
}

fn choose(
    hello: &ClientHello<'_>,
    find: impl FnOnce(&str, &[SignatureScheme]) -> Option<Arc<Served>>,
) -> Result<Arc<Served>, HandshakeOutcome> {
    let name = hello.server_name().ok_or(HandshakeOutcome::NoName)?;
    find(name, hello.signature_schemes()).ok_or(HandshakeOutcome::UnknownName)
}

fn outcome_of(error: &io::Error) -> HandshakeOutcome {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref());
    tls.map_or(HandshakeOutcome::Gone, outcome_of_tls)
}

fn outcome_of_tls(error: &Error) -> HandshakeOutcome {
    match error {
        Error::General(why) if why == UNSIGNED => HandshakeOutcome::Unsigned,
        _ => HandshakeOutcome::Failed,
    }
}

/// A socket without waiting.
struct Direct<'a>(&'a TcpStream);

impl Read for Direct<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(into)
    }
}

impl Write for Direct<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
