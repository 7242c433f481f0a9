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
    Admin, Auth, COMMAND_LINE_VARIABLES, CONFIG_BYTES_MAX, Compile, Config, ConfigError, Fallback,
    HTTP_SOCKETS_MAX, Hint, Http, IpNet, IpNetError, Issuer, KeyRow, KeysUrl, Log, LogFormat,
    LogLevel, LoopbackAddr, Metrics, Node, RawAdmin, RawAuth, RawCompile, RawConfig, RawHttp,
    RawLog, RawMetrics, RawNode, RawStore, RawUploads, RawWorker, SocketPath, Store, Strictness,
    Uploads, Worker, config_keys, keys_markdown,
};
pub use limits::{LIMIT_TABLE, LimitError, LimitOverrides, LimitRow, Limits, limits_markdown};
pub use names::{
    Digest, DigestError, HostPattern, HostPatternError, Hostname, HostnameError, KeyId, KeyIdError,
    LabelError, LabelKind, ModuleName, NodeName, OutboundPattern, OutboundPatternError, PathPrefix,
    PathPrefixError, RouteId, RouteIdError, StoreName, StoreNameError, TenantName, VARIABLE_NAMES,
    VariableId, VariableIdError, is_variable_name,
};
pub use quote::{Quoted, SHOWN_CHARS_MAX};
