//! The names of things: tenants, modules, keys, hosts, paths, routes, variables, digests.
//!
//! Takes text from operators, tenants and clients. Promises that a value of one of these types is
//! in its one normal form: parsing what it prints gives the same value, equal names are equal
//! texts. Errors repeat what was given (escaped and cut) and say what is allowed. Cloning costs a
//! reference count. Never resolves a name, never touches a file.

mod digest;
mod host_pattern;
mod hostname;
mod key_id;
mod label;
mod outbound;
mod path_prefix;
mod route_id;
mod store_name;
mod variable_id;

pub use digest::{Digest, DigestError};
pub use host_pattern::{HostPattern, HostPatternError};
pub use hostname::{Hostname, HostnameError};
pub use key_id::{KeyId, KeyIdError};
pub use label::{CertificateName, LabelError, LabelKind, ModuleName, NodeName, TenantName};
pub use outbound::{OutboundPattern, OutboundPatternError};
pub use path_prefix::{PathPrefix, PathPrefixError};
pub use route_id::{RouteId, RouteIdError};
pub use store_name::{StoreName, StoreNameError};
pub use variable_id::{VARIABLE_NAMES, VariableId, VariableIdError, is_variable_name};
