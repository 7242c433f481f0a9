//! Label values that come from closed lists.

use control_api::error::PlaneError;

/// An enum whose values are label values, with their list, their place in it and their word.
macro_rules! closed_list {
    ($(#[$doc:meta])* $name:ident { $($(#[$value_doc:meta])* $value:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$value_doc])* $value,)+
        }

        impl $name {
            /// Every value, in the order of [`Self::index`].
            pub const ALL: &'static [Self] = &[$(Self::$value),+];

            /// The place in [`Self::ALL`], for tables of counters.
            #[must_use]
            pub fn index(self) -> usize {
                self as usize
            }

            /// The label's value.
            #[must_use]
            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$value => $word,)+
                }
            }
        }
    };
}

closed_list! {
    /// How a compile child ended.
    CompileOutcome {
        /// With native code.
        Accepted = "accepted",
        /// The component is invalid.
        Refused = "refused",
        /// At one of its limits: time, memory or output.
        TooCostly = "too-costly",
        /// The child could not be started or died of something else.
        Failed = "failed",
    }
}

closed_list! {
    /// What the node does about a lack of memory; each step includes those before it.
    #[derive(Default, PartialOrd, Ord)]
    PressureStep {
        /// There is enough.
        #[default]
        None = "none",
        /// Drop components that stand ready unused, and the memory kept for their instances.
        Shrink = "shrink",
        /// Drop all code that is not in use.
        Evict = "evict",
        /// Refuse new requests of the lowest classes.
        Shed = "shed",
    }
}

closed_list! {
    /// What happened to an artifact.
    ArtifactState {
        /// Made from an upload.
        Compiled = "compiled",
        /// An upload needed none: the same component was there.
        Shared = "shared",
        /// Its file is not there.
        Missing = "missing",
        /// Its bytes are not those that this node wrote.
        Tampered = "tampered",
        /// Its file is shorter than it was written.
        Truncated = "truncated",
        /// Made by another version of wasmtime or under another configuration.
        Outdated = "outdated",
        /// Made again from the stored component.
        Recompiled = "recompiled",
    }
}

closed_list! {
    /// How an upload ended.
    UploadEnd {
        /// Compiled and durable.
        Accepted = "accepted",
        /// The same upload had been accepted before.
        Unchanged = "unchanged",
        /// The tenant, a count quota or a precondition did not allow it.
        NotAllowed = "not-allowed",
        /// The statement was missing, not valid or not for this upload.
        Statement = "statement",
        /// The bytes were too many, none, or not those that were signed.
        Body = "body",
        /// The bytes did not come, or not in time.
        BrokenOff = "broken-off",
        /// The bytes are no component, or none that this node serves.
        Component = "component",
        /// Compiling reached one of its limits.
        TooCostly = "too-costly",
        /// The node takes no more uploads at the moment.
        Busy = "busy",
        /// The node's own fault.
        Failed = "failed",
    }
}

impl From<&PlaneError> for UploadEnd {
    fn from(error: &PlaneError) -> Self {
        use PlaneError as E;
        match error {
            E::TenantNotFound { .. }
            | E::ModuleNotFound { .. }
            | E::VersionNotFound { .. }
            | E::RouteNotFound { .. }
            | E::KeyNotFound { .. }
            | E::VariableNotFound { .. }
            | E::StoreKeyNotFound { .. }
            | E::DatabaseNotFound { .. }
            | E::CertificateNotFound { .. }
            | E::CertificateUnusable { .. }
            | E::JobNotFound { .. }
            | E::RevisionMismatch { .. }
            | E::RevisionOfNothing { .. }
            | E::AlreadyThere { .. }
            | E::InvalidValue { .. }
            | E::LimitReached { .. }
            | E::HostTaken { .. }
            | E::HostNotAllowed { .. }
            | E::ModuleInUse { .. }
            | E::TenantSuspended { .. }
            | E::ConfigurationRefused { .. }
            | E::UpgradeFailed { .. } => Self::NotAllowed,
            E::StatementMissing
            | E::StatementMalformed { .. }
            | E::StatementAlgorithm { .. }
            | E::PublisherUnknown { .. }
            | E::SignatureInvalid { .. }
            | E::StatementWrongTenant { .. }
            | E::StatementWrongModule { .. }
            | E::StatementExpired { .. }
            | E::StatementNotYetValid { .. }
            | E::StatementLifetime { .. }
            | E::VersionNotAbove { .. } => Self::Statement,
            E::DigestMismatch { .. } | E::BodyEmpty | E::BodyTooLarge { .. } => Self::Body,
            E::BodyTooSlow { .. } | E::BodyBrokenOff { .. } => Self::BrokenOff,
            E::NotAComponent { .. }
            | E::ImportsNotOffered { .. }
            | E::ExportsNotServed { .. }
            | E::MemoryDoesNotFit { .. }
            | E::ComponentTooComplex { .. }
            | E::DoesNotCompile { .. } => Self::Component,
            E::CompileTooCostly { .. } => Self::TooCostly,
            E::UploadsBusy { .. }
            | E::CompileQueueFull { .. }
            | E::BackupBusy { .. }
            | E::HandingOver
            | E::Draining => Self::Busy,
            E::StoreUnavailable
            | E::OutcomeUnknown
            | E::StateFull { .. }
            | E::DiskFull
            | E::ChangeTooLarge { .. }
            | E::Internal { .. } => Self::Failed,
        }
    }
}
