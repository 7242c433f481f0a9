//! Why the host answered in the guest's place: a closed list.

/// One reason from the closed list. Each is a response header, a problem body, a metric label and a log word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The request has no usable `Host`, or framing that leaves its meaning open.
    BadRequest,
    /// The request's header is larger than the node takes.
    Header,
    /// The request's target is longer than the tenant's limit.
    Url,
    /// No route matches the hostname and path.
    NoRoute,
    /// The certificate of the connection is not for the hostname, or not of the tenant that routes it.
    Misdirected,
    /// The operator suspended the tenant.
    Suspended,
    /// The tenant's guests failed over and over, or the worker died in them; it rests.
    Quarantined,
    /// The tenant had more requests a second than it may.
    Rate,
    /// The request body is larger than the tenant's limit.
    Body,
    /// The tenant has as many requests under way as it may, and as many wait or this one waited too long.
    Concurrency,
    /// The tenant has as many connections as it may.
    Connections,
    /// The node has as many instances alive as it can.
    Instances,
    /// The module cannot be loaded at the moment.
    Unavailable,
    /// The node is draining.
    Draining,
    /// The guest trapped.
    Trap,
    /// The guest trapped after it was refused memory.
    Memory,
    /// The guest used more CPU time than a request may.
    Cpu,
    /// The guest answered with an error of its own.
    GuestError,
    /// The guest ended without an answer.
    NoResponse,
    /// The fields of the response's header are larger than the tenant's limit.
    ResponseHeader,
    /// The response body is larger than the tenant's limit.
    ResponseBody,
    /// The guest took longer than the tenant's deadline.
    Deadline,
    /// For too long nothing moved of either body.
    Idle,
    /// The node is short of memory and sheds what has the least priority.
    Pressure,
    /// The tenant or the node has no memory left for one more instance; counted as [`Refusal::Memory`].
    MemoryUsedUp,
}

impl Refusal {
    /// One of each reason, in the order of [`Refusal::index`].
    pub const ALL: [Self; 24] = [
        Self::BadRequest,
        Self::Header,
        Self::Url,
        Self::NoRoute,
        Self::Misdirected,
        Self::Suspended,
        Self::Quarantined,
        Self::Rate,
        Self::Body,
        Self::Concurrency,
        Self::Connections,
        Self::Instances,
        Self::Unavailable,
        Self::Draining,
        Self::Trap,
        Self::Memory,
        Self::Cpu,
        Self::GuestError,
        Self::NoResponse,
        Self::ResponseHeader,
        Self::ResponseBody,
        Self::Deadline,
        Self::Idle,
        Self::Pressure,
    ];

    /// The place in [`Refusal::ALL`], for tables of counters.
    #[must_use]
    pub fn index(self) -> usize {
        match self {
            Self::MemoryUsedUp => Self::Memory as usize,
            refusal => refusal as usize,
        }
    }

    /// The word in headers, metrics and logs.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::BadRequest => "bad-request",
            Self::Header => "header",
            Self::Url => "url",
            Self::NoRoute => "no-route",
            Self::Misdirected => "misdirected",
            Self::Suspended => "suspended",
            Self::Quarantined => "quarantined",
            Self::Rate => "rate",
            Self::Body => "body",
            Self::Concurrency => "concurrency",
            Self::Connections => "connections",
            Self::Instances => "instances",
            Self::Unavailable => "unavailable",
            Self::Draining => "draining",
            Self::Trap => "trap",
            Self::Memory | Self::MemoryUsedUp => "memory",
            Self::Cpu => "cpu",
            Self::GuestError => "guest-error",
            Self::NoResponse => "no-response",
            Self::ResponseHeader => "response-header",
            Self::ResponseBody => "response-body",
            Self::Deadline => "deadline",
            Self::Idle => "idle",
            Self::Pressure => "pressure",
        }
    }

    /// The HTTP status code (RFC 9110 §15).
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::NoRoute => 404,
            Self::Body => 413,
            Self::Url => 414,
            Self::Misdirected => 421,
            Self::Rate => 429,
            Self::Header => 431,
            Self::Trap
            | Self::Memory
            | Self::Cpu
            | Self::GuestError
            | Self::NoResponse
            | Self::ResponseHeader
            | Self::ResponseBody => 502,
            Self::Suspended
            | Self::Quarantined
            | Self::Concurrency
            | Self::Connections
            | Self::MemoryUsedUp
            | Self::Instances
            | Self::Unavailable
            | Self::Pressure
            | Self::Draining => 503,
            Self::Deadline | Self::Idle => 504,
        }
    }

    /// What the outside is told, the same each time.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::BadRequest => "The request is not well formed",
            Self::Header => "The request's header is too large",
            Self::Url => "The request's target is too long",
            Self::NoRoute => "Nothing is served here",
            Self::Misdirected => "This connection is not for this site",
            Self::Suspended => "This site is suspended",
            Self::Quarantined => "This site failed too often and rests for a while",
            Self::Rate => "Too many requests for this site",
            Self::Body => "The request body is too large",
            Self::Concurrency => "Too many requests are under way for this site",
            Self::Connections => "Too many connections to this site",
            Self::MemoryUsedUp => "There is no memory for one more request to this site",
            Self::Instances | Self::Pressure => "This node is at its capacity",
            Self::Unavailable => "This site is not available at the moment",
            Self::Draining => "This node is shutting down",
            Self::Trap | Self::GuestError => "The application failed",
            Self::Memory => "The application ran out of memory",
            Self::NoResponse => "The application gave no answer",
            Self::Cpu => "The application used too much processor time",
            Self::ResponseHeader | Self::ResponseBody => "The application's answer is too large",
            Self::Deadline | Self::Idle => "The application took too long",
        }
    }

    /// Whether trying again shortly makes sense; such answers carry `Retry-After`.
    #[must_use]
    pub fn retry_after_s(self) -> Option<u64> {
        match self {
            Self::Concurrency
            | Self::Connections
            | Self::MemoryUsedUp
            | Self::Instances
            | Self::Unavailable
            | Self::Pressure
            | Self::Rate
            | Self::Quarantined
            | Self::Draining => Some(1),
            _ => None,
        }
    }

    /// Whether it counts towards the tenant's quarantine: its guest trapped or had to be ended for what it did.
    #[must_use]
    pub fn is_failure(self) -> bool {
        matches!(self, Self::Trap | Self::Memory | Self::Cpu)
    }
}

/// A refusal with what its answer says beyond the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub refusal: Refusal,
    /// When to try again, in whole seconds, rounded up (`Retry-After`, RFC 9110 §10.2.3).
    pub retry_after_s: Option<u64>,
    /// What is left of the tenant's requests, where that is the reason.
    pub rate: Option<RateState>,
}

/// A rate and what is left of it, for the fields `RateLimit-Policy` and `RateLimit`
/// (draft-ietf-httpapi-ratelimit-headers-10).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateState {
    /// Requests in one window.
    pub quota: u64,
    /// The window, in seconds.
    pub window_s: u64,
    /// Requests left now.
    pub remaining: u64,
    /// Seconds until the whole quota is there again.
    pub reset_s: u64,
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self {
            refusal,
            retry_after_s: refusal.retry_after_s(),
            rate: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_closed_and_its_words_are_distinct() {
        for (index, refusal) in Refusal::ALL.into_iter().enumerate() {
            assert_eq!(refusal.index(), index);
        }
        let words: std::collections::BTreeSet<_> = Refusal::ALL
            .iter()
            .map(|refusal| refusal.reason())
            .collect();
        assert_eq!(words.len(), Refusal::ALL.len());
        let memory = Refusal::ALL.get(Refusal::MemoryUsedUp.index());
        assert_eq!(memory, Some(&Refusal::Memory));
    }
}
