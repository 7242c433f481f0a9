//! What the operator of a Littoral node writes: configuration, names, units, limits.
//!
//! Takes text. Promises checked, typed values, or errors that say what was wrong, with which
//! value, and what is allowed. Does no I/O: who calls brings the text and the environment.

mod config;
mod limits;
mod names;
mod quote;
mod text;

pub use config::{
    ADMIN_SCOPES, Admin, AdminClient, Auth, COMMAND_LINE_VARIABLES, CONFIG_BYTES_MAX, Compile,
    Config, ConfigError, Fallback, HTTP_SOCKETS_MAX, Hint, Http, Https, IpNet, IpNetError, Issuer,
    KeyRow, KeysUrl, Log, LogFormat, LogLevel, Metrics, Node, RawAdmin, RawAuth, RawCompile,
    RawConfig, RawHttp, RawHttps, RawLog, RawMetrics, RawNode, RawStore, RawUploads, RawWorker,
    SocketPath, Store, Strictness, TlsVersion, Uploads, WithoutTls, Worker, config_keys,
    keys_markdown,
};
pub use limits::{LIMIT_TABLE, LimitError, LimitOverrides, LimitRow, Limits, limits_markdown};
pub use names::{
    CertificateName, Digest, DigestError, HostPattern, HostPatternError, Hostname, HostnameError,
    KeyId, KeyIdError, LabelError, LabelKind, ModuleName, NodeName, OutboundPattern,
    OutboundPatternError, PathPrefix, PathPrefixError, RouteId, RouteIdError, StoreName,
    StoreNameError, TenantName, VARIABLE_NAMES, VariableId, VariableIdError, is_variable_name,
};
pub use quote::{Quoted, SHOWN_CHARS_MAX};
