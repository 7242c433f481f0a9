//! The plane's errors, kind by kind. Exhaustive: a new [`PlaneError`] does not compile until it has a place here.

use super::{Answer, Kind};
use crate::error::PlaneError;

/// How long to wait while the node drains or its store is away, in seconds: about a restart.
const RETRY_AFTER_RESTART_S: u64 = 5;

/// How long to wait while the node hands over to a new process, in seconds.
const RETRY_AFTER_HAND_OVER_S: u64 = 1;

impl From<&PlaneError> for Answer {
    fn from(error: &PlaneError) -> Self {
        use PlaneError as E;
        let answer = |kind| Answer::new(kind, error);
        match error {
            E::TenantNotFound { .. } => answer(Kind::TenantNotFound),
            E::ModuleNotFound { .. } => answer(Kind::ModuleNotFound),
            E::VersionNotFound { .. } => answer(Kind::VersionNotFound),
            E::RouteNotFound { .. } => answer(Kind::RouteNotFound),
            E::KeyNotFound { .. } => answer(Kind::KeyNotFound),
            E::VariableNotFound { .. } => answer(Kind::VariableNotFound),
            E::StoreKeyNotFound { .. } => answer(Kind::StoreKeyNotFound),
            E::DatabaseNotFound { .. } => answer(Kind::DatabaseNotFound),
            E::CertificateNotFound { .. } => answer(Kind::CertificateNotFound),
            E::JobNotFound { .. } => answer(Kind::JobNotFound),

            E::RevisionMismatch { current, .. } => {
                answer(Kind::RevisionMismatch).with("current", *current)
            }
            E::RevisionOfNothing { .. } => answer(Kind::RevisionMismatch),
            E::AlreadyThere { current } => answer(Kind::AlreadyThere).with("current", *current),
            E::InvalidValue { field, .. } => {
                answer(Kind::ValueInvalid).with("field", field.as_str())
            }
            E::CertificateUnusable { field, .. } => {
                answer(Kind::CertificateUnusable).with("field", *field)
            }
            E::LimitReached { limit, most } => answer(Kind::LimitReached)
                .with("limit", *limit)
                .with("most", *most),
            E::HostTaken { .. } => answer(Kind::HostTaken),
            E::HostNotAllowed { .. } => answer(Kind::HostNotAllowed),
            E::ModuleInUse { .. } => answer(Kind::ModuleInUse),
            E::TenantSuspended { .. } => answer(Kind::TenantSuspended),

            E::StatementMissing => answer(Kind::StatementMissing),
            E::StatementMalformed { .. } => answer(Kind::StatementMalformed),
            E::StatementAlgorithm { .. } => answer(Kind::StatementAlgorithm),
            E::PublisherUnknown { .. } => answer(Kind::PublisherUnknown),
            E::SignatureInvalid { .. } => answer(Kind::SignatureInvalid),
            E::StatementWrongTenant { .. } => answer(Kind::StatementWrongTenant),
            E::StatementWrongModule { .. } => answer(Kind::StatementWrongModule),
            E::StatementExpired { now, .. } => answer(Kind::StatementExpired).with("now", *now),
            E::StatementNotYetValid { now, .. } => {
                answer(Kind::StatementNotYetValid).with("now", *now)
            }
            E::StatementLifetime { lifetime_s_max, .. } => {
                answer(Kind::StatementLifetime).with("lifetime_s_max", *lifetime_s_max)
            }
            E::VersionNotAbove { highest, .. } => {
                answer(Kind::VersionNotAbove).with("highest", *highest)
            }

            E::DigestMismatch { actual, .. } => {
                answer(Kind::DigestMismatch).with("actual", actual.to_string())
            }
            E::BodyEmpty => answer(Kind::BodyEmpty),
            E::BodyTooLarge { bytes_max } => {
                answer(Kind::BodyTooLarge).with("bytes_max", *bytes_max)
            }
            E::BodyTooSlow { .. } => answer(Kind::RequestTooSlow),
            E::BodyBrokenOff { .. } => answer(Kind::BodyBrokenOff),
            E::UploadsBusy { retry_after_s, .. } => {
                answer(Kind::UploadsBusy).retry_after(*retry_after_s)
            }
            E::CompileQueueFull { retry_after_s, .. } => {
                answer(Kind::CompileQueueFull).retry_after(*retry_after_s)
            }

            E::NotAComponent { .. } => answer(Kind::NotAComponent),
            E::ImportsNotOffered { imports } => {
                answer(Kind::ImportsNotOffered).with("imports", imports.clone())
            }
            E::ExportsNotServed { exports } => {
                answer(Kind::ExportsNotServed).with("exports", exports.clone())
            }
            E::MemoryDoesNotFit {
                declared_bytes,
                bytes_max,
            } => answer(Kind::MemoryDoesNotFit)
                .with("declared_bytes", *declared_bytes)
                .with("bytes_max", *bytes_max),
            E::ComponentTooComplex { what, count, most } => answer(Kind::ComponentTooComplex)
                .with("what", *what)
                .with("count", *count)
                .with("most", *most),
            E::DoesNotCompile { .. } => answer(Kind::DoesNotCompile),
            E::CompileTooCostly { .. } => answer(Kind::CompileTooCostly),

            E::ConfigurationRefused { why } => {
                answer(Kind::ConfigurationRefused).with("why", why.clone())
            }
            E::UpgradeFailed { .. } => answer(Kind::UpgradeFailed),
            E::HandingOver => answer(Kind::Draining).retry_after(RETRY_AFTER_HAND_OVER_S),
            E::BackupBusy { retry_after_s } => answer(Kind::BackupBusy).retry_after(*retry_after_s),
            E::Draining => answer(Kind::Draining).retry_after(RETRY_AFTER_RESTART_S),
            E::StoreUnavailable => {
                answer(Kind::StoreUnavailable).retry_after(RETRY_AFTER_RESTART_S)
            }
            E::OutcomeUnknown => answer(Kind::OutcomeUnknown).retry_after(RETRY_AFTER_RESTART_S),
            E::StateFull { bytes_max } => answer(Kind::StateFull).with("bytes_max", *bytes_max),
            E::DiskFull => answer(Kind::DiskFull),
            E::ChangeTooLarge { .. } => answer(Kind::ChangeTooLarge),
            E::Internal { inside } => {
                let mut internal = Answer::new(
                    Kind::Internal,
                    "the node met a fault of its own; its log has more under this request id",
                );
                internal.inside = Some(inside.clone());
                internal
            }
        }
    }
}
