//! Why the host answered in the guest's place: a closed list.

/// One reason from the closed list. Each is a response header, a problem body, a metric label and a log word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The request has no usable `Host`, or framing that leaves its meaning open.
    BadRequest,
    /// The request's header is larger than the node takes.
    Header,
    /// No route matches the hostname and path.
    NoRoute,
    /// The operator suspended the tenant.
    Suspended,
    /// The worker died in the tenant's guests; it rests.
    Quarantined,
    /// The request body is larger than the tenant's limit.
    Body,
    /// The tenant has as many requests under way as it may.
    Concurrency,
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
    /// The guest answered with an error of its own.
    GuestError,
    /// The guest ended without an answer.
    NoResponse,
    /// The response body is larger than the tenant's limit.
    ResponseBody,
    /// The guest took longer than the tenant's deadline.
    Deadline,
}

impl Refusal {
    /// Every reason, in the order of [`Refusal::index`].
    pub const ALL: [Self; 16] = [
        Self::BadRequest,
        Self::Header,
        Self::NoRoute,
        Self::Suspended,
        Self::Quarantined,
        Self::Body,
        Self::Concurrency,
        Self::Instances,
        Self::Unavailable,
        Self::Draining,
        Self::Trap,
        Self::Memory,
        Self::GuestError,
        Self::NoResponse,
        Self::ResponseBody,
        Self::Deadline,
    ];

    /// The place in [`Refusal::ALL`], for tables of counters.
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }

    /// The word in headers, metrics and logs.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::BadRequest => "bad-request",
            Self::Header => "header",
            Self::NoRoute => "no-route",
            Self::Suspended => "suspended",
            Self::Quarantined => "quarantined",
            Self::Body => "body",
            Self::Concurrency => "concurrency",
            Self::Instances => "instances",
            Self::Unavailable => "unavailable",
            Self::Draining => "draining",
            Self::Trap => "trap",
            Self::Memory => "memory",
            Self::GuestError => "guest-error",
            Self::NoResponse => "no-response",
            Self::ResponseBody => "response-body",
            Self::Deadline => "deadline",
        }
    }

    /// The HTTP status code (RFC 9110 §15).
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::Header => 431,
            Self::NoRoute => 404,
            Self::Body => 413,
            Self::Trap
            | Self::Memory
            | Self::GuestError
            | Self::NoResponse
            | Self::ResponseBody => 502,
            Self::Suspended
            | Self::Quarantined
            | Self::Concurrency
            | Self::Instances
            | Self::Unavailable
            | Self::Draining => 503,
            Self::Deadline => 504,
        }
    }

    /// What the outside is told, the same each time.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::BadRequest => "The request is not well formed",
            Self::Header => "The request's header is too large",
            Self::NoRoute => "Nothing is served here",
            Self::Suspended => "This site is suspended",
            Self::Quarantined => "This site is out of service for a while",
            Self::Body => "The request body is too large",
            Self::Concurrency => "Too many requests are under way for this site",
            Self::Instances => "This node is at its capacity",
            Self::Unavailable => "This site is not available at the moment",
            Self::Draining => "This node is shutting down",
            Self::Trap | Self::GuestError => "The application failed",
            Self::Memory => "The application ran out of memory",
            Self::NoResponse => "The application gave no answer",
            Self::ResponseBody => "The application's answer is too large",
            Self::Deadline => "The application took too long",
        }
    }

    /// Whether trying again shortly makes sense; such answers carry `Retry-After`.
    #[must_use]
    pub fn retry_after_s(self) -> Option<u64> {
        match self {
            Self::Quarantined => Some(60),
            Self::Concurrency | Self::Instances | Self::Unavailable | Self::Draining => Some(1),
            _ => None,
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
    }
}
