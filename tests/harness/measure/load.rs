//! Load over bare sockets: closed loop, where each connection asks again at once, or open loop, where requests are due
//! at times set beforehand, so that a node that stalls is not asked less.

use std::collections::{BTreeMap, VecDeque};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};

use super::answer::Arriving;
use super::stats::percentile;
use super::zipf::Zipf;

/// How long answers are waited for after the last request of an open loop.
const DRAIN_MAX: Duration = Duration::from_secs(3);
/// The timer's name among the sockets, which are named by their place.
const TIMER: u64 = u64::MAX;

/// What is asked, how often, for how long.
#[derive(Debug, Clone)]
pub struct Load {
    /// The server.
    pub address: SocketAddr,
    /// Whole requests, head and body.
    pub requests: Vec<Vec<u8>>,
    /// Which of them comes next.
    pub pick: Pick,
    /// Connections, which stay open.
    pub connections: usize,
    /// When the next one comes.
    pub pace: Pace,
    /// For how long.
    pub span: Duration,
}

/// Which request comes next.
#[derive(Debug, Clone)]
pub enum Pick {
    /// One after the other, again and again.
    InTurn,
    /// By rank, the first the most often.
    Zipf(Zipf),
}

/// When the next request comes.
#[derive(Debug, Clone, Copy)]
pub enum Pace {
    /// As soon as the answer before it on the same connection is there.
    Closed,
    /// At so many a second, whatever became of those before. One that finds no free connection waits, and that counts.
    PerSecond(u32),
}

/// What came of some load.
#[derive(Debug, Default, Clone)]
pub struct Outcome {
    /// Microseconds from when each was due to its last byte, sorted; only those answered 200.
    pub latencies_us: Vec<u32>,
    /// How often each status came.
    pub statuses: BTreeMap<u16, u64>,
    /// Requests whose connection broke.
    pub lost: u64,
    /// Requests of an open loop that waited still when it was over: there were more than the server takes.
    pub unanswered: u64,
    /// The time it took.
    pub took: Duration,
}

impl Outcome {
    /// Answers of 200.
    pub fn good(&self) -> u64 {
        self.latencies_us.len() as u64
    }

    /// Answers of 200 a second.
    pub fn per_s(&self) -> f64 {
        self.good() as f64 / self.took.as_secs_f64()
    }

    /// Whatever was not answered 200.
    pub fn bad(&self) -> u64 {
        let all: u64 = self.statuses.values().sum();
        self.lost + self.unanswered + all - self.good()
    }

    /// The latency that this share did not exceed, in milliseconds.
    pub fn ms(&self, share: f64) -> f64 {
        f64::from(percentile(&self.latencies_us, share)) / 1000.0
    }
}

impl Load {
    /// Runs it, on this thread.
    ///
    /// # Panics
    /// If the server cannot be connected to.
    pub fn run(&self) -> Outcome {
        let mut run = Run::new(self);
        run.go();
        run.outcome.latencies_us.sort_unstable();
        run.outcome
    }
}

struct Run<'a> {
    load: &'a Load,
    pick: Pick,
    turn: usize,
    epoll: OwnedFd,
    timer: OwnedFd,
    sockets: Vec<Socket>,
    free: Vec<usize>,
    /// Due, and without a connection.
    waiting: VecDeque<Instant>,
    outcome: Outcome,
    buffer: Vec<u8>,
    over: bool,
}

struct Socket {
    stream: TcpStream,
    arriving: Arriving,
    /// Which request, how much of it is sent, and since when it is due; nothing while free.
    asked: Option<(usize, usize, Instant)>,
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address);
    let stream = stream.unwrap_or_else(|error| panic!("{address}: {error}"));
    stream.set_nodelay(true).expect("a TCP socket");
    stream.set_nonblocking(true).expect("a socket");
    stream
}

impl<'a> Run<'a> {
    fn new(load: &'a Load) -> Self {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("an epoll");
        let timer = timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC,
        );
        let timer = timer.expect("a timer");
        let edge = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&epoll, &timer, epoll::EventData::new_u64(TIMER), edge).expect("a timer");
        let mut run = Self {
            load,
            pick: load.pick.clone(),
            turn: 0,
            epoll,
            timer,
            sockets: Vec::with_capacity(load.connections),
            free: (0..load.connections).rev().collect(),
            waiting: VecDeque::new(),
            outcome: Outcome::default(),
            buffer: vec![0; 256 << 10],
            over: false,
        };
        for at in 0..load.connections {
            let stream = connect(load.address);
            run.watch(&stream, at);
            run.sockets.push(Socket {
                stream,
                arriving: Arriving::default(),
                asked: None,
            });
        }
        run
    }

    fn watch(&self, stream: &TcpStream, at: usize) {
        let edges = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
        let name = epoll::EventData::new_u64(at as u64);
        epoll::add(&self.epoll, stream, name, edges).expect("a socket");
    }

    fn go(&mut self) {
        let began = Instant::now();
        let end = began + self.load.span;
        let mut sent: u32 = 0;
        if matches!(self.load.pace, Pace::Closed) {
            while let Some(at) = self.free.pop() {
                self.ask(at, Instant::now());
            }
        }
        let mut events = Vec::with_capacity(self.load.connections + 1);
        loop {
            let now = Instant::now();
            if !self.over && now >= end {
                self.over = true;
                self.outcome.took = now - began;
            }
            if let (Pace::PerSecond(rate), false) = (self.load.pace, self.over) {
                let due = |number: u32| began + Duration::from_secs(1) * number / rate;
                while due(sent) <= now {
                    // A timer's own lateness is not the server's; the wait for a connection is.
                    match self.free.pop() {
                        Some(at) => self.ask(at, Instant::now()),
                        None => self.waiting.push_back(due(sent)),
                    }
                    sent += 1;
                }
                self.wake_after(due(sent).saturating_duration_since(Instant::now()));
            }
            if self.over {
                let idle = self.free.len() == self.sockets.len() && self.waiting.is_empty();
                let closed = matches!(self.load.pace, Pace::Closed);
                if idle || closed || now >= end + DRAIN_MAX {
                    break;
                }
            }
            events.clear();
            let most = Timespec {
                tv_sec: 0,
                tv_nsec: 20_000_000,
            };
            match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&most)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => panic!("epoll: {error}"),
            }
            for event in &events {
                let event: &epoll::Event = event;
                let name = event.data.u64();
                if name != TIMER {
                    self.ready(usize::try_from(name).expect("a place"));
                }
            }
        }
        let unanswered = self.waiting.len() + self.sockets.len() - self.free.len();
        if matches!(self.load.pace, Pace::PerSecond(_)) {
            self.outcome.unanswered = unanswered as u64;
        }
    }

    fn wake_after(&self, wait: Duration) {
        let value = Timespec {
            tv_sec: 0,
            // Zero would be never.
            tv_nsec: i64::from(wait.subsec_nanos().max(1)),
        };
        let interval = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let spec = Itimerspec {
            it_interval: interval,
            it_value: value,
        };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &spec).expect("a timer");
    }

    fn next(&mut self) -> usize {
        match &mut self.pick {
            Pick::InTurn => {
                self.turn = (self.turn + 1) % self.load.requests.len();
                self.turn
            }
            Pick::Zipf(zipf) => zipf.next(),
        }
    }

    fn ask(&mut self, at: usize, due: Instant) {
        let request = self.next();
        self.sockets[at].asked = Some((request, 0, due));
        if self.send(at).is_err() {
            self.broke(at);
        }
    }

    fn send(&mut self, at: usize) -> std::io::Result<()> {
        let socket = &mut self.sockets[at];
        let Some((request, sent, _)) = &mut socket.asked else {
            return Ok(());
        };
        let bytes = &self.load.requests[*request];
        while *sent < bytes.len() {
            match socket.stream.write(&bytes[*sent..]) {
                Ok(count) => *sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn ready(&mut self, at: usize) {
        if self.send(at).is_err() {
            return self.broke(at);
        }
        loop {
            let socket = &mut self.sockets[at];
            match socket.stream.read(&mut self.buffer) {
                Ok(0) => return self.broke(at),
                Ok(count) => {
                    match socket.arriving.take(&self.buffer[..count]) {
                        Ok(Some(status)) => return self.answered(at, status),
                        Ok(None) => {}
                        Err(_) => return self.broke(at),
                    }
                    // Less than there was room for is all there was: what comes later is a new edge.
                    if count < self.buffer.len() {
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => return self.broke(at),
            }
        }
    }

    fn answered(&mut self, at: usize, status: u16) {
        let now = Instant::now();
        if let Some((_, _, due)) = self.sockets[at].asked.take()
            && !(self.over && matches!(self.load.pace, Pace::Closed))
        {
            *self.outcome.statuses.entry(status).or_default() += 1;
            if status == 200 {
                let took = now.saturating_duration_since(due).as_micros();
                self.outcome
                    .latencies_us
                    .push(u32::try_from(took).unwrap_or(u32::MAX));
            }
        }
        self.go_on(at, now);
    }

    fn broke(&mut self, at: usize) {
        let stream = connect(self.load.address);
        self.watch(&stream, at);
        let socket = &mut self.sockets[at];
        // The old one leaves the epoll as it is closed.
        socket.stream = stream;
        socket.arriving = Arriving::default();
        // An idle connection may be closed by the other side at any time.
        if socket.asked.take().is_some() {
            self.outcome.lost += 1;
            self.go_on(at, Instant::now());
        }
    }

    fn go_on(&mut self, at: usize, now: Instant) {
        match (self.load.pace, self.waiting.pop_front()) {
            (_, Some(due)) => self.ask(at, due),
            (Pace::Closed, None) if !self.over => self.ask(at, now),
            _ => self.free.push(at),
        }
    }
}
