//! The imports this node offers, in one linker for all components.

use wasmtime::Engine;
use wasmtime::component::Linker;
use wasmtime_wasi::cli::{WasiCli, WasiCliView};
use wasmtime_wasi::random::{WasiRandom, WasiRandomView};
use wasmtime_wasi::sockets::{WasiSockets, WasiSocketsView};

use super::key_value::Guest;
use super::state::GuestState;
use super::{config, databases, key_value, sql, variables, wasi_keyvalue};

/// Everything a guest may import here, version by version as wasmtime's own bindings have it.
///
/// Files: in 0.2 those that were deployed with the component. In 0.3 the interfaces are there because standard libraries
/// import them, and no directory is open. Outgoing requests go where a grant of the module leads. So do connections over TCP
/// in 0.2; all other sockets are there for the same reason as files, and denied as they are made.
///
/// # Errors
/// Only if two of the packages define the same name, which is a bug of ours.
pub fn linker(engine: &Engine) -> wasmtime::Result<Linker<GuestState>> {
    let mut linker = Linker::new(engine);
    let l = &mut linker;
    // wasi:http/proxy@0.2 and what standard libraries add to it.
    wasmtime_wasi_http::p2::add_to_linker_async(l)?;
    {
        use wasmtime_wasi::p2::bindings::{cli, filesystem, random, sockets};
        cli::environment::add_to_linker::<_, WasiCli>(l, WasiCliView::cli)?;
        cli::exit::add_to_linker::<_, WasiCli>(l, WasiCliView::cli)?;
        cli::terminal_input::add_to_linker::<_, WasiCli>(l, WasiCliView::cli)?;
        cli::terminal_output::add_to_linker::<_, WasiCli>(l, WasiCliView::cli)?;
        cli::terminal_stdin::add_to_linker::<_, WasiCli>(l, WasiCliView::cli)?;
        cli::terminal_stdout::add_to_linker::<_, WasiCli>(l, WasiCliView::cli)?;
        cli::terminal_stderr::add_to_linker::<_, WasiCli>(l, WasiCliView::cli)?;
        filesystem::preopens::add_to_linker::<_, Guest>(l, |state| state)?;
        filesystem::types::add_to_linker::<_, Guest>(l, |state| state)?;
        random::insecure::add_to_linker::<_, WasiRandom>(l, WasiRandomView::random)?;
        random::insecure_seed::add_to_linker::<_, WasiRandom>(l, WasiRandomView::random)?;
        let options = sockets::network::LinkOptions::default();
        sockets::network::add_to_linker::<_, WasiSockets>(l, &options, WasiSocketsView::sockets)?;
        sockets::instance_network::add_to_linker::<_, WasiSockets>(l, WasiSocketsView::sockets)?;
        sockets::udp::add_to_linker::<_, WasiSockets>(l, WasiSocketsView::sockets)?;
        sockets::udp_create_socket::add_to_linker::<_, WasiSockets>(l, WasiSocketsView::sockets)?;
    }
    // wasi:http/service@0.3.
    wasmtime_wasi::p3::cli::add_to_linker(l)?;
    wasmtime_wasi::p3::clocks::add_to_linker(l)?;
    wasmtime_wasi::p3::filesystem::add_to_linker(l)?;
    wasmtime_wasi::p3::random::add_to_linker(l)?;
    wasmtime_wasi::p3::sockets::add_to_linker(l)?;
    wasmtime_wasi_http::p3::add_to_linker(l)?;
    super::sockets::add_to_linker(l)?;
    // What Spin adds, and drafts of WASI: offered to all, and refused at the call where it was not granted.
    key_value::add_to_linker(l)?;
    sql::add_to_linker(l)?;
    variables::add_to_linker(l)?;
    databases::add_to_linker(l)?;
    config::add_to_linker(l)?;
    wasi_keyvalue::add_to_linker(l)?;
    Ok(linker)
}

/// Whether an import of this name would be found, for the dry run and for the answer to an upload that is refused.
///
/// `name` is a component import such as `wasi:http/types@0.2.4`. A release version matches any offered release of
/// the same compatible line; a pre-release must match exactly.
#[must_use]
pub fn offers(name: &str) -> bool {
    let Some((interface, version)) = name.rsplit_once('@') else {
        return false;
    };
    if OFFERED_EXACTLY.contains(&name) {
        return true;
    }
    OFFERED
        .iter()
        .any(|(line, interfaces)| version_in(version, line) && interfaces.contains(&interface))
}

/// `0.2.x` for the line `0.2`, without a pre-release.
fn version_in(version: &str, line: &str) -> bool {
    version
        .strip_prefix(line)
        .and_then(|rest| rest.strip_prefix('.'))
        .is_some_and(|patch| !patch.is_empty() && patch.bytes().all(|b| b.is_ascii_digit()))
}

/// What a module is granted that an import is of no use without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grant {
    /// A key-value store.
    KeyValue,
    /// An SQL database.
    Databases,
    /// Somewhere to connect to.
    Outbound,
}

impl Grant {
    /// The member of the grants that it is an entry in.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::KeyValue => "key_value",
            Self::Databases => "databases",
            Self::Outbound => "outbound",
        }
    }
}

/// The grant that an import needs, where it is of an interface that needs one.
#[must_use]
pub fn grant_for(name: &str) -> Option<Grant> {
    let interface = name.split('@').next().unwrap_or_default();
    match interface {
        "fermyon:spin/key-value" | "spin:key-value/key-value" | "wasi:keyvalue/store" => {
            Some(Grant::KeyValue)
        }
        "fermyon:spin/sqlite" | "spin:sqlite/sqlite" => Some(Grant::Databases),
        "fermyon:spin/postgres"
        | "fermyon:spin/redis"
        | "spin:postgres/postgres"
        | "spin:redis/redis"
        | "wasi:http/outgoing-handler"
        | "wasi:http/client"
        | "wasi:sockets/tcp" => Some(Grant::Outbound),
        _ => None,
    }
}

/// What is offered in one version only: pre-releases, and packages that have seen no other.
const OFFERED_EXACTLY: [&str; 23] = [
    "fermyon:spin/key-value@2.0.0",
    "fermyon:spin/postgres@2.0.0",
    "fermyon:spin/rdbms-types@2.0.0",
    "fermyon:spin/redis@2.0.0",
    "fermyon:spin/sqlite@2.0.0",
    "fermyon:spin/variables@2.0.0",
    "spin:key-value/key-value@3.0.0",
    "spin:postgres/postgres@3.0.0",
    "spin:postgres/postgres@4.0.0",
    "spin:postgres/postgres@4.1.0",
    "spin:postgres/postgres@4.2.0",
    "spin:redis/redis@3.0.0",
    "spin:sqlite/sqlite@3.0.0",
    "spin:sqlite/sqlite@3.1.0",
    "spin:variables/variables@3.0.0",
    "wasi:config/store@0.2.0-draft-2024-09-27",
    "wasi:config/store@0.2.0-rc.1",
    "wasi:keyvalue/atomics@0.2.0-draft",
    "wasi:keyvalue/atomics@0.2.0-draft2",
    "wasi:keyvalue/batch@0.2.0-draft",
    "wasi:keyvalue/batch@0.2.0-draft2",
    "wasi:keyvalue/store@0.2.0-draft",
    "wasi:keyvalue/store@0.2.0-draft2",
];

/// What [`linker`] defines; a test holds the two together.
const OFFERED: [(&str, &[&str]); 2] = [
    (
        "0.2",
        &[
            "wasi:cli/environment",
            "wasi:cli/exit",
            "wasi:cli/stderr",
            "wasi:cli/stdin",
            "wasi:cli/stdout",
            "wasi:cli/terminal-input",
            "wasi:cli/terminal-output",
            "wasi:cli/terminal-stderr",
            "wasi:cli/terminal-stdin",
            "wasi:cli/terminal-stdout",
            "wasi:clocks/monotonic-clock",
            "wasi:clocks/wall-clock",
            "wasi:filesystem/preopens",
            "wasi:filesystem/types",
            "wasi:http/outgoing-handler",
            "wasi:http/types",
            "wasi:io/error",
            "wasi:io/poll",
            "wasi:io/streams",
            "wasi:random/insecure",
            "wasi:random/insecure-seed",
            "wasi:random/random",
            "wasi:sockets/instance-network",
            "wasi:sockets/ip-name-lookup",
            "wasi:sockets/network",
            "wasi:sockets/tcp",
            "wasi:sockets/tcp-create-socket",
            "wasi:sockets/udp",
            "wasi:sockets/udp-create-socket",
        ],
    ),
    (
        "0.3",
        &[
            "wasi:cli/environment",
            "wasi:cli/exit",
            "wasi:cli/stderr",
            "wasi:cli/stdin",
            "wasi:cli/stdout",
            "wasi:cli/terminal-input",
            "wasi:cli/terminal-output",
            "wasi:cli/terminal-stderr",
            "wasi:cli/terminal-stdin",
            "wasi:cli/terminal-stdout",
            "wasi:cli/types",
            "wasi:clocks/monotonic-clock",
            "wasi:clocks/system-clock",
            "wasi:clocks/types",
            "wasi:filesystem/preopens",
            "wasi:filesystem/types",
            "wasi:http/client",
            "wasi:http/types",
            "wasi:random/insecure",
            "wasi:random/insecure-seed",
            "wasi:random/random",
            "wasi:sockets/ip-name-lookup",
            "wasi:sockets/types",
        ],
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn release_versions_match_their_line_and_prereleases_do_not() {
        assert!(offers("wasi:http/types@0.2.0"));
        assert!(offers("wasi:http/types@0.2.10"));
        assert!(offers("wasi:http/client@0.3.0"));
        assert!(!offers("wasi:http/types@0.3.0-rc-2026-03-15"));
        assert!(!offers("wasi:http/types@0.2.x"));
        assert!(!offers("wasi:http/types"));
        assert!(offers("wasi:config/store@0.2.0-rc.1"));
        assert!(offers("wasi:config/store@0.2.0-draft-2024-09-27"));
        assert!(!offers("wasi:config/store@0.2.0"));
        assert!(!offers("wasi:config/store@0.2.0-draft"));
        assert!(offers("wasi:sockets/tcp@0.2.0"));
        assert!(!offers("wasi:sockets/tcp@0.3.0"));
        assert!(!offers("acme:nothing/here@1.2.3"));
    }
}
