//! Records: what the store keeps, in its own types.
//!
//! Takes and gives plain strings and numbers, so that neither the API's views nor the domain's types can change the
//! stored format by accident; the control room converts. A stored value is one version byte, the revision (8 bytes,
//! little-endian) and the record in postcard. A version this build does not know is an error that says so; an older
//! one is upgraded by [`Stored::upgrade`], never guessed at.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::key::Key;

/// A tenant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantRecord {
    /// Its name.
    pub tenant: String,
    /// When it was created, in seconds since 1970-01-01 UTC.
    pub created_at_s: u64,
    /// What was set for this tenant: the limit's configuration key, and its value in that key's unit.
    pub limits: Vec<(String, u64)>,
    /// The hostname patterns it may route; empty allows any that nobody else holds.
    pub hosts: Vec<String>,
    /// Whether it is suspended.
    pub suspended: bool,
}

/// A publisher's public key, trusted to sign a tenant's uploads.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublisherKeyRecord {
    /// The tenant that trusts it.
    pub tenant: String,
    /// The key's id.
    pub kid: String,
    /// The 32 bytes of the Ed25519 public key.
    pub public_key: Vec<u8>,
    /// When it was added, in seconds since 1970-01-01 UTC.
    pub added_at_s: u64,
}

/// A module with the versions that are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModuleRecord {
    /// The tenant that has it.
    pub tenant: String,
    /// Its name.
    pub module: String,
    /// The version that routes without a pinned one serve.
    pub active_version: u64,
    /// The highest version ever accepted.
    pub highest_version: u64,
    /// The versions that are kept.
    pub versions: Vec<VersionRecord>,
    /// How its instances are used again, where they are; since version 2.
    pub reuse: Option<ReuseRecord>,
    /// What its guests are granted, where they are; since version 3.
    pub grants: Option<GrantsRecord>,
}

/// What the guests of a module may do beyond answering requests.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantsRecord {
    /// Key-value stores of the tenant.
    pub key_value: Vec<String>,
    /// Variables of the tenant.
    pub variables: Vec<String>,
    /// Where they may connect to.
    pub outbound: Vec<String>,
    /// Networks that granted names may lead to.
    pub networks: Vec<String>,
    /// Environment variables.
    pub environment: Vec<(String, String)>,
    /// SQL databases of the tenant; since version 4 of the module.
    pub databases: Vec<String>,
}

/// How the instances of a module serve more than one request each.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReuseRecord {
    /// Requests that one instance serves at most.
    pub requests_max: u32,
    /// How long an instance waits for a request at most, in milliseconds.
    pub idle_ms_max: u64,
    /// Requests that one instance serves at once.
    pub concurrency_max: u32,
    /// What an instance may hold after a request to serve another, in bytes.
    pub memory_bytes_max: u64,
}

/// [`ModuleRecord`] as version 3 had it; its versions were as they are now.
#[derive(Serialize, Deserialize)]
struct ModuleRecord3 {
    tenant: String,
    module: String,
    active_version: u64,
    highest_version: u64,
    versions: Vec<VersionRecord>,
    reuse: Option<ReuseRecord>,
    grants: Option<GrantsRecord3>,
}

/// [`GrantsRecord`] as version 3 of the module had it.
#[derive(Serialize, Deserialize)]
struct GrantsRecord3 {
    key_value: Vec<String>,
    variables: Vec<String>,
    outbound: Vec<String>,
    networks: Vec<String>,
    environment: Vec<(String, String)>,
}

impl From<GrantsRecord3> for GrantsRecord {
    fn from(old: GrantsRecord3) -> Self {
        Self {
            key_value: old.key_value,
            variables: old.variables,
            outbound: old.outbound,
            networks: old.networks,
            environment: old.environment,
            databases: Vec::new(),
        }
    }
}

/// [`ModuleRecord`] as version 2 had it; its versions were as they are now.
#[derive(Serialize, Deserialize)]
struct ModuleRecord2 {
    tenant: String,
    module: String,
    active_version: u64,
    highest_version: u64,
    versions: Vec<VersionRecord>,
    reuse: Option<ReuseRecord>,
}

/// [`ModuleRecord`] as version 1 had it; its versions were as they are now.
#[derive(Serialize, Deserialize)]
struct ModuleRecord1 {
    tenant: String,
    module: String,
    active_version: u64,
    highest_version: u64,
    versions: Vec<VersionRecord>,
}

/// One accepted version of a module.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionRecord {
    /// As the statement said.
    pub version: u64,
    /// The digest of the component, `sha-256:<hex>`.
    pub digest: String,
    /// The component's length in bytes.
    pub component_bytes: u64,
    /// The publisher whose signature was accepted.
    pub kid: String,
    /// When it was accepted, in seconds since 1970-01-01 UTC.
    pub accepted_at_s: u64,
    /// The signed statement, a compact JWS: checked again when an artifact is rebuilt from the component.
    pub statement: String,
    /// The world it serves.
    pub world: String,
    /// What inspection found, in the form the control room chose.
    pub inspection: Vec<u8>,
}

/// The highest version ever accepted of a module that was deleted, or whose tenant was: what keeps an old signed
/// build from being replayed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FloorRecord {
    /// The tenant that had it.
    pub tenant: String,
    /// The module's name.
    pub module: String,
    /// The highest version ever accepted.
    pub highest_version: u64,
}

/// A certificate with its private key, which is encrypted: the store, its export and its copies hold no secret that is
/// of use without the node's own key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateRecord {
    /// The tenant that has it.
    pub tenant: String,
    /// Its name.
    pub certificate: String,
    /// The chain in DER, the certificate itself first.
    pub chain: Vec<Vec<u8>>,
    /// The private key, encrypted under the node's key for certificates, in the form that the control room chose.
    pub sealed_key: Vec<u8>,
    /// When it was put here, in seconds since 1970-01-01 UTC.
    pub added_at_s: u64,
}

/// A route.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteRecord {
    /// The hostname pattern.
    pub host: String,
    /// The path prefix.
    pub path: String,
    /// The tenant that set it.
    pub tenant: String,
    /// The module that answers.
    pub module: String,
    /// The pinned version, if one is.
    pub version: Option<u64>,
}

/// A variable. A secret is encrypted: the store, its export and its copies hold none that is of use without the node's own
/// key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VariableRecord {
    /// The tenant that has it.
    pub tenant: String,
    /// Its id: its name, after the module's and `/` where it is a module's own.
    pub variable: String,
    /// Whether the value is a secret.
    pub secret: bool,
    /// The value in UTF-8; of a secret, encrypted in the form that the control room chose.
    pub value: Vec<u8>,
    /// When it was last written, in seconds since 1970-01-01 UTC.
    pub changed_at_s: u64,
}

/// What a tenant used since it is counted; only rises.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageRecord {
    /// The tenant.
    pub tenant: String,
    /// Since when it is counted, in seconds since 1970-01-01 UTC.
    pub since_s: u64,
    /// Receipts given.
    pub receipts: u64,
    /// Requests admitted to a guest.
    pub requests: u64,
    /// Request body bytes.
    pub request_body_bytes: u64,
    /// Response body bytes.
    pub response_body_bytes: u64,
    /// CPU time of its guests, in microseconds.
    pub cpu_us: u64,
    /// Memory of its guests over time, in KiB times milliseconds.
    pub memory_kib_ms: u64,
}

/// One change, for those who ask later. Its sequence number is given by the commit that carries it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRecord {
    /// Seconds since 1970-01-01 UTC.
    pub at_s: u64,
    /// Who made it.
    pub who: String,
    /// What was done, for instance `route.set`.
    pub action: String,
    /// The tenant concerned, where one is.
    pub tenant: Option<String>,
    /// The resource concerned.
    pub resource: String,
    /// Its state before, in the form the control room chose.
    pub before: Option<Vec<u8>>,
    /// Its state after.
    pub after: Option<Vec<u8>>,
    /// The request that made it.
    pub request_id: String,
}

/// The node's own record, written by the store with every commit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct NodeRecord {
    /// How records are laid out: [`SCHEMA_VERSION`].
    pub(super) schema: u32,
    /// The last committed sequence number.
    pub(super) seq: u64,
    /// The highest time a commit vouched for, in seconds since 1970-01-01 UTC.
    pub(super) known_good_time_s: u64,
}

/// The layout of keys and records that this build writes.
pub(super) const SCHEMA_VERSION: u32 = 1;

/// What a transaction may put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// A tenant.
    Tenant(TenantRecord),
    /// A publisher's key.
    PublisherKey(PublisherKeyRecord),
    /// A module.
    Module(ModuleRecord),
    /// A certificate.
    Certificate(CertificateRecord),
    /// A version floor.
    Floor(FloorRecord),
    /// A route.
    Route(RouteRecord),
    /// What a tenant used.
    Usage(UsageRecord),
    /// A variable.
    Variable(VariableRecord),
}

impl Record {
    /// Where the record lives.
    #[must_use]
    pub fn key(&self) -> Key {
        match self {
            Self::Tenant(record) => record.key(),
            Self::PublisherKey(record) => record.key(),
            Self::Module(record) => record.key(),
            Self::Certificate(record) => record.key(),
            Self::Floor(record) => record.key(),
            Self::Route(record) => record.key(),
            Self::Usage(record) => record.key(),
            Self::Variable(record) => record.key(),
        }
    }

    pub(super) fn seal(&self) -> Result<Vec<u8>, RecordError> {
        match self {
            Self::Tenant(record) => seal(record),
            Self::PublisherKey(record) => seal(record),
            Self::Module(record) => seal(record),
            Self::Certificate(record) => seal(record),
            Self::Floor(record) => seal(record),
            Self::Route(record) => seal(record),
            Self::Usage(record) => seal(record),
            Self::Variable(record) => seal(record),
        }
    }
}

/// A record with the revision it was last written at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revised<T> {
    /// The sequence number of the commit that wrote it.
    pub revision: u64,
    /// The record.
    pub record: T,
}

/// A record that cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Written by a build with another idea of this record.
    #[error("a {kind} record has version {found}; this build reads versions 1 to {newest}")]
    UnknownVersion {
        /// The kind of record.
        kind: &'static str,
        /// The version it carries.
        found: u8,
        /// The newest version this build knows.
        newest: u8,
    },
    /// Shorter than version and revision.
    #[error("a {kind} record has {bytes} bytes; version and revision alone take {HEAD_BYTES}")]
    TooShort {
        /// The kind of record.
        kind: &'static str,
        /// Its length.
        bytes: usize,
    },
    /// The body is not one of this version.
    #[error("a {kind} record of version {version} does not decode")]
    Body {
        /// The kind of record.
        kind: &'static str,
        /// The version it carries.
        version: u8,
        /// What postcard says.
        #[source]
        source: postcard::Error,
    },
    /// The body is whole, and more follows.
    #[error("a {kind} record is followed by {bytes} bytes that belong to nothing")]
    Trailing {
        /// The kind of record.
        kind: &'static str,
        /// How many bytes follow.
        bytes: usize,
    },
    /// The record says it lives elsewhere.
    #[error("the record under {key:?} says it belongs under {claims:?}")]
    Misplaced {
        /// Where it was found.
        key: Key,
        /// Where it says it lives.
        claims: Key,
    },
    /// The record cannot be encoded.
    #[error("a {kind} record does not encode")]
    Encode {
        /// The kind of record.
        kind: &'static str,
        /// What postcard says.
        #[source]
        source: postcard::Error,
    },
}

/// A record that knows its version.
pub(super) trait Stored: Serialize + DeserializeOwned {
    /// What messages call it.
    const KIND: &'static str;
    /// The version this build writes.
    const VERSION: u8;

    /// Where it lives, as far as the record itself says.
    fn key(&self) -> Key;

    /// Turns the body of an older version into today's record; `None` where that version was never written.
    ///
    /// A record that has reached version 2 overrides this, with one arm per older version.
    fn upgrade(_version: u8, _body: &[u8]) -> Option<Result<Self, RecordError>> {
        None
    }
}

/// Version byte and revision.
const HEAD_BYTES: usize = 9;

/// Encodes a record with the revision left at zero, for [`set_revision`] to fill in.
pub(super) fn seal<T: Stored>(record: &T) -> Result<Vec<u8>, RecordError> {
    let mut head = vec![0; HEAD_BYTES];
    if let Some(version) = head.first_mut() {
        *version = T::VERSION;
    }
    postcard::to_extend(record, head).map_err(|source| RecordError::Encode {
        kind: T::KIND,
        source,
    })
}

/// Writes the revision into a sealed record.
pub(super) fn set_revision(sealed: &mut [u8], revision: u64) {
    if let Some(place) = sealed.get_mut(1..HEAD_BYTES) {
        place.copy_from_slice(&revision.to_le_bytes());
    }
}

/// Reads a record that was found under `key`.
pub(super) fn unseal<T: Stored>(key: &Key, bytes: &[u8]) -> Result<Revised<T>, RecordError> {
    let too_short = || RecordError::TooShort {
        kind: T::KIND,
        bytes: bytes.len(),
    };
    let (&version, rest) = bytes.split_first().ok_or_else(too_short)?;
    let (revision, body) = rest.split_first_chunk::<8>().ok_or_else(too_short)?;
    let record = if version == T::VERSION {
        body_of(T::KIND, version, body)?
    } else {
        T::upgrade(version, body).ok_or(RecordError::UnknownVersion {
            kind: T::KIND,
            found: version,
            newest: T::VERSION,
        })??
    };
    let claims = T::key(&record);
    if claims != *key && !matches!(claims, Key::Audit { .. }) {
        return Err(RecordError::Misplaced {
            key: key.clone(),
            claims,
        });
    }
    Ok(Revised {
        revision: u64::from_le_bytes(*revision),
        record,
    })
}

/// A record's body in the layout of one version, and nothing behind it.
fn body_of<T: DeserializeOwned>(
    kind: &'static str,
    version: u8,
    body: &[u8],
) -> Result<T, RecordError> {
    let (record, rest) = postcard::take_from_bytes(body).map_err(|source| RecordError::Body {
        kind,
        version,
        source,
    })?;
    if rest.is_empty() {
        Ok(record)
    } else {
        Err(RecordError::Trailing {
            kind,
            bytes: rest.len(),
        })
    }
}

impl Stored for UsageRecord {
    const KIND: &'static str = "usage";
    const VERSION: u8 = 1;
    fn key(&self) -> Key {
        Key::Usage {
            tenant: self.tenant.clone(),
        }
    }
}

impl Stored for TenantRecord {
    const KIND: &'static str = "tenant";
    const VERSION: u8 = 1;
    fn key(&self) -> Key {
        Key::Tenant {
            tenant: self.tenant.clone(),
        }
    }
}

impl Stored for PublisherKeyRecord {
    const KIND: &'static str = "publisher key";
    const VERSION: u8 = 1;
    fn key(&self) -> Key {
        Key::PublisherKey {
            tenant: self.tenant.clone(),
            kid: self.kid.clone(),
        }
    }
}

impl Stored for ModuleRecord {
    const KIND: &'static str = "module";
    const VERSION: u8 = 4;
    fn key(&self) -> Key {
        Key::Module {
            tenant: self.tenant.clone(),
            module: self.module.clone(),
        }
    }
    fn upgrade(version: u8, body: &[u8]) -> Option<Result<Self, RecordError>> {
        match version {
            1 => Some(
                body_of(Self::KIND, version, body).map(|old: ModuleRecord1| Self {
                    tenant: old.tenant,
                    module: old.module,
                    active_version: old.active_version,
                    highest_version: old.highest_version,
                    versions: old.versions,
                    reuse: None,
                    grants: None,
                }),
            ),
            2 => Some(
                body_of(Self::KIND, version, body).map(|old: ModuleRecord2| Self {
                    tenant: old.tenant,
                    module: old.module,
                    active_version: old.active_version,
                    highest_version: old.highest_version,
                    versions: old.versions,
                    reuse: old.reuse,
                    grants: None,
                }),
            ),
            3 => Some(
                body_of(Self::KIND, version, body).map(|old: ModuleRecord3| Self {
                    tenant: old.tenant,
                    module: old.module,
                    active_version: old.active_version,
                    highest_version: old.highest_version,
                    versions: old.versions,
                    reuse: old.reuse,
                    grants: old.grants.map(Into::into),
                }),
            ),
            _ => None,
        }
    }
}

impl Stored for CertificateRecord {
    const KIND: &'static str = "certificate";
    const VERSION: u8 = 1;
    fn key(&self) -> Key {
        Key::Certificate {
            tenant: self.tenant.clone(),
            certificate: self.certificate.clone(),
        }
    }
}

impl Stored for FloorRecord {
    const KIND: &'static str = "version floor";
    const VERSION: u8 = 1;
    fn key(&self) -> Key {
        Key::Floor {
            tenant: self.tenant.clone(),
            module: self.module.clone(),
        }
    }
}

impl Stored for RouteRecord {
    const KIND: &'static str = "route";
    const VERSION: u8 = 1;
    fn key(&self) -> Key {
        Key::Route {
            host: self.host.clone(),
            path: self.path.clone(),
        }
    }
}

impl Stored for VariableRecord {
    const KIND: &'static str = "variable";
    const VERSION: u8 = 1;
    fn key(&self) -> Key {
        Key::Variable {
            tenant: self.tenant.clone(),
            variable: self.variable.clone(),
        }
    }
}

impl Stored for AuditRecord {
    const KIND: &'static str = "audit";
    const VERSION: u8 = 1;
    /// The entry itself holds no sequence number; its revision does.
    fn key(&self) -> Key {
        Key::Audit { seq: 0 }
    }
}

impl Stored for NodeRecord {
    const KIND: &'static str = "node";
    const VERSION: u8 = 1;
    fn key(&self) -> Key {
        Key::Node
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route() -> RouteRecord {
        RouteRecord {
            host: "*.acme.test".into(),
            path: "/api".into(),
            tenant: "acme".into(),
            module: "hello".into(),
            version: Some(7),
        }
    }

    #[test]
    fn a_record_comes_back_with_its_revision() {
        let mut sealed = seal(&route()).unwrap();
        set_revision(&mut sealed, 41);
        let back: Revised<RouteRecord> = unseal(&route().key(), &sealed).unwrap();
        assert_eq!(
            back,
            Revised {
                revision: 41,
                record: route()
            }
        );
    }

    #[test]
    fn an_unknown_version_says_what_is_known() {
        for version in [0, 2, 255] {
            let mut sealed = seal(&route()).unwrap();
            sealed[0] = version;
            let error = unseal::<RouteRecord>(&route().key(), &sealed).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("a route record has version {version}; this build reads versions 1 to 1")
            );
        }
    }

    #[test]
    fn cut_long_and_misplaced_records_are_refused() {
        let sealed = seal(&route()).unwrap();
        for length in 0..sealed.len() {
            assert!(
                unseal::<RouteRecord>(&route().key(), &sealed[..length]).is_err(),
                "{length} bytes of {} were taken",
                sealed.len()
            );
        }
        let mut long = sealed.clone();
        long.push(0);
        assert!(matches!(
            unseal::<RouteRecord>(&route().key(), &long),
            Err(RecordError::Trailing { bytes: 1, .. })
        ));
        let elsewhere = Key::Route {
            host: "other.test".into(),
            path: "/".into(),
        };
        assert!(matches!(
            unseal::<RouteRecord>(&elsewhere, &sealed),
            Err(RecordError::Misplaced { .. })
        ));
    }

    /// A record in its second version, whose first had no `colour`.
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Flag {
        name: String,
        colour: String,
    }

    impl Stored for Flag {
        const KIND: &'static str = "flag";
        const VERSION: u8 = 2;
        fn key(&self) -> Key {
            Key::Tenant {
                tenant: self.name.clone(),
            }
        }
        fn upgrade(version: u8, body: &[u8]) -> Option<Result<Self, RecordError>> {
            (version == 1).then(|| {
                let (name, _) = postcard::take_from_bytes::<String>(body).map_err(|source| {
                    RecordError::Body {
                        kind: Self::KIND,
                        version,
                        source,
                    }
                })?;
                Ok(Self {
                    name,
                    colour: "white".into(),
                })
            })
        }
    }

    #[test]
    fn an_older_version_is_upgraded_by_code_and_a_never_written_one_refused() {
        let key = Key::Tenant {
            tenant: "acme".into(),
        };
        let old = postcard::to_extend(&"acme", vec![1, 9, 0, 0, 0, 0, 0, 0, 0]).unwrap();
        let flag: Revised<Flag> = unseal(&key, &old).unwrap();
        assert_eq!(flag.revision, 9);
        assert_eq!(flag.record.colour, "white");

        let mut never = old;
        never[0] = 0;
        assert!(matches!(
            unseal::<Flag>(&key, &never),
            Err(RecordError::UnknownVersion {
                found: 0,
                newest: 2,
                ..
            })
        ));
    }

    /// The bytes of version 1, from a tuple: the record's own type has moved on.
    fn module_of_version_1() -> Vec<u8> {
        let version = VersionRecord {
            version: 7,
            digest: "sha-256:00".into(),
            inspection: vec![1, 2, 3],
            ..VersionRecord::default()
        };
        let body = ("acme", "hello", 7_u64, 9_u64, vec![version]);
        postcard::to_extend(&body, vec![1, 5, 0, 0, 0, 0, 0, 0, 0]).unwrap()
    }

    #[test]
    fn a_module_of_version_1_is_read_as_one_without_reuse() {
        let key = Key::Module {
            tenant: "acme".into(),
            module: "hello".into(),
        };
        let old = module_of_version_1();
        let read: Revised<ModuleRecord> = unseal(&key, &old).unwrap();
        assert_eq!(read.revision, 5);
        let module = read.record;
        assert_eq!((module.active_version, module.highest_version), (7, 9));
        assert_eq!(module.versions[0].inspection, [1, 2, 3]);
        assert_eq!(module.reuse, None);
        // Written again it is of version 4, and the same.
        let new = seal(&module).unwrap();
        assert_eq!(new[0], 4);
        let again: Revised<ModuleRecord> = unseal(&key, &new).unwrap();
        assert_eq!(again.record, module);

        for length in 0..old.len() {
            let cut = unseal::<ModuleRecord>(&key, &old[..length]);
            assert!(cut.is_err(), "{length} bytes of {}", old.len());
        }
        // What later versions have more is nothing that version 1 may have.
        let mut long = old;
        long.push(0);
        assert!(matches!(
            unseal::<ModuleRecord>(&key, &long),
            Err(RecordError::Trailing { bytes: 1, .. })
        ));
    }

    #[test]
    fn a_module_of_version_2_is_read_as_one_without_grants() {
        let key = Key::Module {
            tenant: "acme".into(),
            module: "hello".into(),
        };
        let reuse = ReuseRecord {
            requests_max: 9,
            idle_ms_max: 8,
            concurrency_max: 7,
            memory_bytes_max: 6,
        };
        let versions: Vec<VersionRecord> = Vec::new();
        let body = ("acme", "hello", 7_u64, 9_u64, versions, Some(&reuse));
        let mut old = postcard::to_extend(&body, vec![2, 5, 0, 0, 0, 0, 0, 0, 0]).unwrap();
        let read: Revised<ModuleRecord> = unseal(&key, &old).unwrap();
        assert_eq!(read.record.reuse, Some(reuse));
        assert_eq!(read.record.grants, None);
        old.push(0);
        assert!(matches!(
            unseal::<ModuleRecord>(&key, &old),
            Err(RecordError::Trailing { bytes: 1, .. })
        ));
    }

    #[test]
    fn a_module_of_version_3_is_read_as_one_that_was_granted_no_databases() {
        let key = Key::Module {
            tenant: "acme".into(),
            module: "hello".into(),
        };
        let list = |name: &str| vec![name.to_owned()];
        let environment = vec![("A".to_owned(), "b".to_owned())];
        let grants = (
            list("store"),
            list("variable"),
            list("host"),
            list("net"),
            &environment,
        );
        let versions: Vec<VersionRecord> = Vec::new();
        let reuse: Option<ReuseRecord> = None;
        let body = ("acme", "hello", 7_u64, 9_u64, versions, reuse, Some(grants));
        let mut old = postcard::to_extend(&body, vec![3, 5, 0, 0, 0, 0, 0, 0, 0]).unwrap();
        let read: Revised<ModuleRecord> = unseal(&key, &old).unwrap();
        let wanted = GrantsRecord {
            key_value: list("store"),
            variables: list("variable"),
            outbound: list("host"),
            networks: list("net"),
            environment,
            databases: Vec::new(),
        };
        assert_eq!(read.record.grants, Some(wanted));
        old.push(0);
        assert!(matches!(
            unseal::<ModuleRecord>(&key, &old),
            Err(RecordError::Trailing { bytes: 1, .. })
        ));
    }
}
