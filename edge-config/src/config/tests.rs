//! The configuration as a whole, through what other crates call.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::{LIMIT_TABLE, limits_markdown};

const NO_VARIABLES: [(&str, &str); 0] = [];

/// Every message, in the order of the errors.
fn errors(text: &str, variables: &[(&str, &str)]) -> Vec<String> {
    match Config::parse(text, variables.iter().copied()) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.iter().map(ToString::to_string).collect(),
    }
}

fn error(text: &str) -> String {
    let errors = errors(text, &[]);
    assert_eq!(errors.len(), 1, "{text}: {errors:?}");
    errors.into_iter().next().unwrap()
}

fn parse(text: &str, variables: &[(&str, &str)]) -> Config {
    Config::parse(text, variables.iter().copied()).unwrap()
}

fn is_number(row: &KeyRow) -> bool {
    matches!(row.default, Fallback::Int(_))
}

#[test]
fn nothing_written_gives_the_defaults() {
    let config = parse("", &[]);
    assert_eq!(config, Config::default());
    assert_eq!(Config::resolve(RawConfig::default()), Ok(config.clone()));
    assert_eq!(config.node.name.as_str(), "littoral");
    assert_eq!(config.admin.listen.to_string(), "127.0.0.1:7400");
    assert_eq!(config.admin.unix_socket, None);
    assert_eq!(config.http.listen[0].to_string(), "0.0.0.0:8080");
    assert_eq!(config.http.connections_max, 10_000);
    assert_eq!(config.auth.issuers[0].as_str(), "littoral");
    assert_eq!(config.log.level, LogLevel::Info);
    assert_eq!(config.limits, Limits::default());
}

#[test]
fn the_file_is_read_and_the_environment_wins() {
    let text = r#"
        [http]
        threads = 4
        drain_ms_max = 1_000
        trusted_proxies = ["10.0.0.0/8"]
        [admin]
        unix_socket = "/run/littoral/admin.sock"
        [limits]
        routes_max = 7
        modules_max = 8
    "#;
    let config = parse(text, &[]);
    assert_eq!((config.http.threads, config.http.drain_ms_max), (4, 1_000));
    assert!(config.http.trusted_proxies[0].contains([10, 1, 1, 1].into()));
    assert_eq!(config.limits.routes_max, 7);

    let config = parse(
        text,
        &[
            ("LITTORAL_HTTP_THREADS", "2"),
            ("LITTORAL_HTTP_LISTEN", "127.0.0.1:0, [::1]:0"),
            ("LITTORAL_HTTP_TRUSTED_PROXIES", ""),
            ("LITTORAL_ADMIN_UNIX_SOCKET", ""),
            ("LITTORAL_LIMITS_ROUTES_MAX", "9"),
            ("LITTORAL_LOG_FORMAT", "json"),
            ("HTTP_THREADS", "5"),
        ],
    );
    assert_eq!((config.http.threads, config.http.drain_ms_max), (2, 1_000));
    assert_eq!(config.http.listen.len(), 2);
    assert_eq!(config.http.trusted_proxies, []);
    assert_eq!(config.admin.unix_socket, None);
    assert_eq!(
        (config.limits.routes_max, config.limits.modules_max),
        (9, 8)
    );
    assert_eq!(config.log.format, LogFormat::Json);
}

#[test]
fn a_variable_replaces_even_a_wrong_value() {
    let config = parse("http.threads = \"x\"", &[("LITTORAL_HTTP_THREADS", "2")]);
    assert_eq!(config.http.threads, 2);
}

#[test]
fn every_number_is_refused_outside_its_range() {
    for row in config_keys().filter(is_number) {
        let (min, max) = row.range;
        let allowed = format!("; allowed: {min} to {max}");
        let check = |value: &str, reason: &str| {
            let text = format!("[{}]\n{} = {value}", row.section, row.name);
            assert_eq!(
                error(&text),
                format!("{} = {value} {reason}{allowed}", row.path())
            );
        };
        check(&(max + 1).to_string(), "is out of range");
        if min > 0 {
            check(&(min - 1).to_string(), "is out of range");
        }
        check("-1", "is negative");
        let whole = "not a whole number; the unit is part of the key's name";
        check("1.5", &format!("is a fractional number, {whole}"));
        check("\"64\"", &format!("is a string, {whole}"));
        check("\"10s\"", &format!("is a string, {whole}"));
        check("true", &format!("is a boolean, {whole}"));
        check("[1]", &format!("is a list, {whole}"));

        for value in ["-1", "1.5", "10s", "", " 1", "+1", "99999999999999999999"] {
            let messages = errors("", &[(&row.variable(), value)]);
            assert_eq!(messages.len(), 1, "{value}: {messages:?}");
            assert!(messages[0].starts_with(&format!("{} = \"{value}\" is ", row.path())));
            assert!(messages[0].ends_with(&format!(" (from {}){allowed}", row.variable())));
        }
    }
}

#[test]
fn a_number_from_a_variable_keeps_its_origin_when_the_range_is_checked() {
    assert_eq!(
        errors("", &[("LITTORAL_HTTP_THREADS", "300")]),
        ["http.threads = 300 is out of range (from LITTORAL_HTTP_THREADS); allowed: 0 to 256"]
    );
}

#[test]
fn words_and_lists_are_refused_with_what_is_allowed() {
    for (text, message) in [
        (
            "admin.clients = ['ci=deploy']",
            "admin.clients = \"ci=deploy\" must have a tenant for tenant:admin, deploy and read",
        ),
        (
            "node.name = 'A'",
            "node.name = \"A\" is not a node name; allowed: 1 to 63 of a-z",
        ),
        (
            "node.name = 3",
            "node.name = 3 is a number, not a string; allowed: 1 to 63",
        ),
        (
            "log.level = 'loud'",
            "log.level = \"loud\" is not a log level; allowed: \"error\", ",
        ),
        (
            "http.listen = []",
            "http.listen = [] has 0 items; allowed: a list of 1 to 16, each an IP",
        ),
        (
            "http.listen = '0.0.0.0:80'",
            "http.listen = \"0.0.0.0:80\" is a string, not a list; allowed: a list of",
        ),
        (
            "http.listen = ['0.0.0.0:80', 'x']",
            "http.listen = \"x\" is not an IP address and a port",
        ),
        (
            "http.listen = ['0.0.0.0:80', 80]",
            "http.listen = 80 is a number, not a string",
        ),
        (
            "http.trusted_proxies = ['10.0.0.1/8']",
            "http.trusted_proxies = \"10.0.0.1/8\" has bits set",
        ),
        (
            "auth.jwks_url = 'ftp://x/'",
            "auth.jwks_url = \"ftp://x/\" does not start with http",
        ),
        (
            "auth.jwks_url = 'http://id.example/jwks'",
            "auth.jwks_url = \"http://id.example/jwks\" goes to another machine over plain http; \
             allowed: \"\" for none, or an https:// URL, or http:// to localhost, 127.0.0.0/8 or [::1]",
        ),
        (
            "auth.issuers = []",
            "auth.issuers = [] has 0 items; allowed: a list of 1 to 16",
        ),
        (
            "node.data_dir = ''",
            "node.data_dir = \"\" has 0 bytes; allowed: a path",
        ),
        (
            "http = 3",
            "http = 3 is not a section; allowed: [http] and its keys below it",
        ),
        (
            "http.threads.most = 3",
            "http.threads = { most = 3 } is a section, not a whole number",
        ),
        ("[[http]]", "http = [{}] is not a section"),
    ] {
        let found = error(text);
        assert!(found.starts_with(message), "{text}: {found}");
    }
}

#[test]
fn unknown_keys_are_refused_with_what_was_meant() {
    for (text, message) in [
        (
            "http.drain_s_max = 3",
            "unknown key \"http.drain_s_max\"; did you mean http.drain_ms_max?",
        ),
        (
            "limits.request_deadline_s_max = 3",
            "unknown key \"limits.request_deadline_s_max\"; did you mean limits.request_deadline_ms_max?",
        ),
        (
            "limits.instance_memory_mb_max = 3",
            "unknown key \"limits.instance_memory_mb_max\"; did you mean limits.instance_memory_mib_max?",
        ),
        (
            "worker.restart_backoff_s_max = 3",
            "unknown key \"worker.restart_backoff_s_max\"; did you mean worker.restart_backoff_ms_max?",
        ),
        (
            "http.thread = 3",
            "unknown key \"http.thread\"; did you mean http.threads?",
        ),
        (
            "http.cache_mib = 3",
            "unknown key \"http.cache_mib\"; did you mean store.cache_mib?",
        ),
        (
            "log.colour = true",
            "unknown key \"log.colour\"; allowed: format, level",
        ),
        (
            "[htttp]\nthreads = 3",
            "unknown key \"htttp\"; did you mean [http]?",
        ),
        (
            "threads = 3",
            "unknown key \"threads\"; allowed: [node], [admin], ",
        ),
        (
            "\"a\\nb\" = 3",
            "unknown key \"a\\nb\"; allowed: [node], [admin], ",
        ),
    ] {
        let found = error(text);
        assert!(found.starts_with(message), "{text}: {found}");
    }
}

#[test]
fn unknown_variables_are_refused_without_their_value() {
    for (name, message) in [
        (
            "LITTORAL_HTTP_THREAD",
            "unknown environment variable \"LITTORAL_HTTP_THREAD\"; did you mean LITTORAL_HTTP_THREADS?",
        ),
        (
            "LITTORAL_UPLOADS_DURATION_S_MAX",
            "unknown environment variable \"LITTORAL_UPLOADS_DURATION_S_MAX\"; did you mean LITTORAL_UPLOADS_DURATION_MS_MAX?",
        ),
        (
            "LITTORAL_TOKENS",
            "unknown environment variable \"LITTORAL_TOKENS\"; allowed: LITTORAL_<SECTION>_<KEY>",
        ),
        (
            "LITTORAL_",
            "unknown environment variable \"LITTORAL_\"; allowed: LITTORAL_<SECTION>_<KEY>",
        ),
    ] {
        let messages = errors("", &[(name, "hunter2")]);
        assert_eq!(messages.len(), 1);
        assert!(messages[0].starts_with(message), "{}", messages[0]);
        assert!(!messages[0].contains("hunter2"));
    }
    let allowed: Vec<_> = COMMAND_LINE_VARIABLES
        .iter()
        .map(|name| (*name, "x"))
        .collect();
    assert_eq!(errors("", &allowed), [""; 0]);
}

#[test]
fn text_that_is_not_toml_is_refused_with_its_place() {
    let found = error("[http]\nthreads = 3\nidlé = = 4\n");
    assert!(found.starts_with("line 3, column "), "{found}");
    assert!(error("[http]\n[http]\n").starts_with("line 2, column "));
    assert!(error("[http]\nthreads = 1\nthreads = 2").starts_with("line 3, column "));
    let long = "#".repeat(CONFIG_BYTES_MAX + 1);
    assert_eq!(
        error(&long),
        "the configuration has 1048577 bytes; allowed: at most 1048576"
    );
}

#[test]
fn values_that_exclude_each_other_are_refused() {
    for (text, message) in [
        (
            "worker.restart_backoff_ms_min = 20\nworker.restart_backoff_ms_max = 10",
            "worker.restart_backoff_ms_min = 20 and worker.restart_backoff_ms_max = 10 \
             do not go together; allowed: the first at most the second",
        ),
        (
            "limits.log_burst_bytes_max = 100",
            "limits.log_line_bytes_max = 4096 and limits.log_burst_bytes_max = 100 \
             do not go together; allowed: the first at most the second",
        ),
        (
            "http.listen = ['0.0.0.0:7400']",
            "admin.listen = 127.0.0.1:7400 and http.listen = 0.0.0.0:7400 \
             do not go together; allowed: addresses that do not overlap",
        ),
        (
            "http.listen = ['[::1]:1', '[::]:1']",
            "http.listen = [::1]:1 and http.listen = [::]:1 \
             do not go together; allowed: addresses that do not overlap",
        ),
    ] {
        assert_eq!(error(text), message);
    }
    parse(
        "http.listen = ['127.0.0.1:0', '127.0.0.1:0', '[::]:7400', '127.0.0.2:7400']",
        &[],
    );
}

#[test]
fn everything_wrong_is_reported_at_once() {
    let text = r#"
        [http]
        threads = 300
        listen = "x"
        deadline = 3
        [worker]
        restart_backoff_ms_min = 20
        restart_backoff_ms_max = 10
        [limits]
        routes_max = "9"
        modules_max = 1_000_000
    "#;
    let variables = [("LITTORAL_NODE_NAME", "A"), ("LITTORAL_NODE_NAM", "a")];
    let messages = errors(text, &variables);
    assert_eq!(messages.len(), 8, "{messages:#?}");
    for start in [
        "http.threads = 300 ",
        "http.listen = \"x\" ",
        "unknown key \"http.deadline\"",
        "worker.restart_backoff_ms_min = 20 and ",
        "limits.routes_max = \"9\" ",
        "limits.modules_max = 1000000 ",
        "node.name = \"A\" is not a node name (from LITTORAL_NODE_NAME)",
        "unknown environment variable \"LITTORAL_NODE_NAM\"",
    ] {
        assert!(
            messages.iter().any(|message| message.starts_with(start)),
            "{start}: {messages:#?}"
        );
    }
}

/// Such a node once came up, and its worker never did: the sockets did not fit the message that hands them over.
#[test]
fn more_sockets_than_a_worker_takes_are_refused() {
    let listen: Vec<_> = (0..16)
        .map(|port| format!("'[::]:{}'", 9000 + port))
        .collect();
    let text = |threads: u32| {
        format!(
            "http.threads = {threads}\nhttp.listen = [{}]",
            listen.join(",")
        )
    };
    assert!(Config::parse(&text(8), NO_VARIABLES).is_ok());
    assert_eq!(
        error(&text(9)),
        "http.threads = 9 and http.listen = 16 addresses do not go together; allowed: at most 128 sockets, which is \
         the first times the number of the second"
    );
}

#[test]
fn a_wrong_value_is_not_reported_twice_as_a_conflict() {
    // The default of the one that is wrong, 10 ms, would be more than the other's 5.
    let text = "worker.restart_backoff_ms_min = '1'\nworker.restart_backoff_ms_max = 5";
    assert!(error(text).starts_with("worker.restart_backoff_ms_min = \"1\" is a string"));
    let text = "limits.log_line_bytes_max = '64'\nlimits.log_burst_bytes_max = 64";
    assert!(error(text).starts_with("limits.log_line_bytes_max = \"64\" is a string"));
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_not_utf8_is_refused() {
    use std::os::unix::ffi::OsStringExt as _;
    let value = OsString::from_vec(vec![b'a', 0xff]);
    let errors = Config::parse("", [("LITTORAL_NODE_DATA_DIR", value)]).unwrap_err();
    assert!(
        errors[0]
            .to_string()
            .contains("is not UTF-8 (from LITTORAL_NODE_DATA_DIR)")
    );
    let name = OsString::from_vec(b"LITTORAL_\xff".to_vec());
    assert!(Config::parse("", [(name, "x")]).is_ok());
}

#[test]
fn reading_leaves_room_for_the_command_line() {
    let mut raw = RawConfig::read("http.threads = 4", NO_VARIABLES).unwrap();
    assert_eq!(raw.http.threads, Some(4));
    assert_eq!(raw.http.listen, None);
    raw.http.listen = Some(vec!["127.0.0.1:0".to_owned()]);
    let config = Config::resolve(raw).unwrap();
    assert_eq!(config.http.listen[0].port(), 0);
    assert!(RawConfig::read("http.thread = 4", NO_VARIABLES).is_err());
    let raw = RawConfig::read("http.threads = 400", NO_VARIABLES).unwrap();
    assert_eq!(Config::resolve(raw).unwrap_err().len(), 1);
}

#[test]
fn no_two_keys_share_a_variable() {
    let mut seen = BTreeMap::new();
    for row in config_keys() {
        let variable = row.variable();
        assert!(!COMMAND_LINE_VARIABLES.contains(&variable.as_str()));
        assert_eq!(seen.insert(variable, row.path()), None);
    }
    assert_eq!(
        config_keys()
            .filter(|row| row.section == LIMITS_SECTION)
            .count(),
        LIMIT_TABLE.len()
    );
}

#[test]
fn the_printed_whole_documents_every_key() {
    let text = Config::default().to_toml();
    for row in config_keys() {
        assert!(text.contains(&format!("# {}\n", row.doc)), "{}", row.path());
        assert!(
            text.contains(&format!("Variable: {}.\n", row.variable())),
            "{}",
            row.path()
        );
    }
    assert!(text.contains("\n# unix_socket is not set\n"), "{text}");
    assert_eq!(parse(&text, &[]), Config::default());
}

#[test]
fn the_checked_values_serialize_as_they_are_written() {
    let config = parse(
        "admin.unix_socket = '/run/a'\nhttp.trusted_proxies = ['::/0']",
        &[],
    );
    let written: toml::Table = config.to_toml().parse().unwrap();
    assert_eq!(toml::Table::try_from(&config).unwrap(), written);
}

/// What may be written for a key, right values and wrong ones.
fn written(row: KeyRow) -> BoxedStrategy<toml::Value> {
    let text = prop_oneof![
        Just("127.0.0.1:0".to_owned()),
        Just("10.0.0.0/8".to_owned()),
        Just("http://[::1]/keys".to_owned()),
        Just("json".to_owned()),
        Just("trace".to_owned()),
        Just(String::new()),
        "[a-z0-9]{1,8}",
        "[ -~é]{1,20}",
        any::<String>(),
    ];
    match row.default {
        Fallback::Int(_) => (row.range.0..=row.range.1)
            .prop_map(setting::integer)
            .boxed(),
        Fallback::List(_) => proptest::collection::vec(text, 0..4)
            .prop_map(Into::into)
            .boxed(),
        Fallback::Text(_) | Fallback::Unset => text.prop_map(Into::into).boxed(),
    }
}

fn some_keys() -> impl Strategy<Value = Vec<(KeyRow, toml::Value)>> {
    let keys: Vec<_> = config_keys()
        .map(|row| {
            proptest::option::weighted(0.3, written(row).prop_map(move |value| (row, value)))
        })
        .collect();
    keys.prop_map(|keys| keys.into_iter().flatten().collect())
}

fn to_text<'a>(keys: impl Iterator<Item = &'a (KeyRow, toml::Value)>) -> String {
    let mut sections = toml::Table::new();
    for (row, value) in keys {
        let section = sections
            .entry(row.section)
            .or_insert_with(|| toml::Table::new().into());
        if let toml::Value::Table(keys) = section {
            keys.insert(row.name.to_owned(), value.clone());
        }
    }
    sections.to_string()
}

proptest! {
    #[test]
    fn the_printed_whole_parses_to_the_same(keys in some_keys()) {
        // Keys whose value is refused on its own are left out, so that most runs get through.
        let keys: Vec<_> = keys
            .into_iter()
            .filter(|key| Config::parse(&to_text([key].into_iter()), NO_VARIABLES).is_ok())
            .collect();
        if let Ok(config) = Config::parse(&to_text(keys.iter()), NO_VARIABLES) {
            let printed = config.to_toml();
            let again = Config::parse(&printed, NO_VARIABLES);
            prop_assert_eq!(again, Ok(config), "{}", printed);
        }
    }

    #[test]
    fn any_text_and_variables_give_a_configuration_or_reasons(
        text in prop_oneof![
            any::<String>(),
            "(\\[?[a-z_.]{1,12}\\]?( = [0-9a-z\"\\[\\]{}.,-]{0,8})?\n){0,6}",
            some_keys().prop_map(|keys| to_text(keys.iter())),
        ],
        variables in proptest::collection::vec(("(LITTORAL_)?[A-Z_]{0,12}", ".{0,12}"), 0..4),
    ) {
        if let Err(errors) = Config::parse(&text, variables) {
            prop_assert!(!errors.is_empty());
            for error in errors {
                let message = error.to_string();
                prop_assert!(!message.is_empty());
                // The TOML parser's own messages are its own.
                if !matches!(error, ConfigError::Syntax { .. }) {
                    prop_assert!(!message.chars().any(char::is_control), "{:?}", message);
                }
            }
        }
    }
}

/// The README's tables are the rendered ones; `UPDATE_README=1` writes them.
#[test]
fn the_readme_has_the_tables_as_they_are() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let old = std::fs::read_to_string(path).unwrap();
    let new = with_table(
        &with_table(&old, "keys", &keys_markdown()),
        "limits",
        &limits_markdown(),
    );
    if std::env::var_os("UPDATE_README").is_some() {
        std::fs::write(path, &new).unwrap();
    }
    assert!(
        old == new || std::env::var_os("UPDATE_README").is_some(),
        "the tables in edge-config/README.md are old; \
         write them with: UPDATE_README=1 cargo test -p edge-config readme"
    );
}

fn with_table(text: &str, name: &str, table: &str) -> String {
    let begin = format!("<!-- {name}: begin -->\n");
    let end = format!("<!-- {name}: end -->");
    let (before, rest) = text.split_once(&begin).unwrap();
    let (_, after) = rest.split_once(&end).unwrap();
    format!("{before}{begin}\n{}\n\n{end}{after}", table.trim_end())
}

#[test]
fn the_admin_api_has_tls_where_others_reach_it_and_all_of_it() {
    assert_eq!(errors("admin.listen = '127.8.8.8:0'", &[]).len(), 0);
    assert_eq!(errors("admin.listen = '[::1]:7400'", &[]).len(), 0);
    for (text, message) in [
        (
            "admin.listen = '0.0.0.0:7400'",
            "admin.listen = 0.0.0.0:7400 and admin.tls_chain_file = not set",
        ),
        (
            "admin.tls_chain_file = 'a.pem'",
            "admin.tls_chain_file = \"a.pem\" and admin.tls_key_file = not set",
        ),
        (
            "admin.clients = ['ops=node:admin']",
            "admin.client_authorities_file = not set and admin.clients = 1 clients",
        ),
    ] {
        let found = errors(text, &[]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with(message), "{found:?}");
    }
    let insists = "admin.listen = '0.0.0.0:7400'\nadmin.without_tls = 'anywhere'";
    assert_eq!(errors(insists, &[]).len(), 0);
    let whole = "[admin]\nlisten = '0.0.0.0:7400'\ntls_chain_file = 'a'\ntls_key_file = 'b'\n\
                 client_authorities_file = 'c'\nclients = ['ops=node:admin', 'ci=deploy+read@acme']";
    assert_eq!(errors(whole, &[]).len(), 0);
    let without = errors(
        "[admin]\nclient_authorities_file = 'c'\nclients = ['ops=node:admin']",
        &[],
    );
    assert!(without[0].contains("over TLS"), "{without:?}");
}
