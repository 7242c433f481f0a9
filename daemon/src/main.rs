//! The daemon's binary: which kind of process this is.

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufReader, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
use control_api::archive::read_passphrase;
use control_api::manual;
use edge_config::Config;
use littorald::control::backup::restore_node;
use littorald::control::service::{Credentials, Service};
use littorald::control::upgrade::{Predecessor, Restart};
use littorald::control::{Node, TimeFloor};
use littorald::dev::{self, DevOptions};
use littorald::{artifact, doctor, logging, storage, worker};

/// What the process ends with; the unit file says which of them must not restart it.
///
/// | code | meaning |
/// |---|---|
/// | 0 | ended as it was told to |
/// | 1 | could not start, or a fault of the box |
/// | 2 | the command line is wrong |
/// | 78 | the configuration, or what a service manager passed, is refused: starting again would change nothing |
const CONFIG_REFUSED: u8 = 78;
/// Read when no other is named, if it is there.
const DEFAULT_CONFIG: &str = "/etc/littoral/littoral.toml";
/// Threads that answer the admin API and keep the worker company; guests run elsewhere.
const CONTROL_THREADS: usize = 2;

/// Read of an archive at once, in bytes.
const ARCHIVE_READ_BYTES: usize = 256 << 10;

#[derive(Parser)]
#[command(
    name = "littorald",
    version,
    about = "Serves signed WebAssembly of many tenants under strict quotas",
    after_help = "Exit codes: 0 ended as told, 1 could not start or a fault, 2 wrong command line, 78 configuration refused."
)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// The configuration file [default: /etc/littoral/littoral.toml, if it is there]
    #[arg(long, env = "LITTORAL_CONFIG", global = true)]
    config: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Run the node (what happens without a command)
    Run {
        /// The box's clock is right, though the node has seen a later time: forget that, and do not count from it
        #[arg(long)]
        clock_is_right: bool,
        /// Take the place of the node that started this process
        #[arg(long, hide = true)]
        take_over: Option<u32>,
    },
    /// Check the configuration and print the whole of it, defaults and environment included
    CheckConfig {
        /// Print JSON instead of TOML
        #[arg(long)]
        json: bool,
    },
    /// Say what this box has, how many instances follow from it and why, and what to change
    Doctor {
        /// Print JSON instead of a page for people
        #[arg(long)]
        json: bool,
    },
    /// Put an archive of `littoral backup` into the empty data directory, for a node to start on
    Restore {
        /// The archive; `-` for standard input
        archive: PathBuf,
        /// A file with the passphrase that the archive is sealed under
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
        /// Print JSON instead of a page for people
        #[arg(long)]
        json: bool,
    },
    /// Run a node that sets itself up, with a demo tenant and a hello component
    Dev(DevOptions),
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write the manual pages, of the configuration too
    Manual {
        /// The folder they go to
        folder: PathBuf,
    },
    /// A worker process; started by the node
    #[command(hide = true)]
    Worker,
    /// A compile process; started by the node
    #[command(hide = true)]
    Compile,
    /// A process that has a tenant's SQL databases open; started by the node
    #[command(hide = true)]
    Databases,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let run_it = Command::Run {
        clock_is_right: false,
        take_over: None,
    };
    match arguments.command.unwrap_or(run_it) {
        Command::Worker => worker::main(),
        Command::Compile => artifact::compile::child_main(),
        Command::Databases => storage::sql::child_main(),
        Command::Run {
            clock_is_right,
            take_over,
        } => match configuration(arguments.config.clone()) {
            Ok(config) => {
                let floor = match clock_is_right {
                    true => TimeFloor::Reset,
                    false => TimeFloor::Kept,
                };
                run(config, arguments.config, floor, take_over)
            }
            Err(refused) => refused,
        },
        Command::CheckConfig { json } => match configuration(arguments.config) {
            Ok(config) => print_config(&config, json),
            Err(refused) => refused,
        },
        Command::Doctor { json } => match configuration(arguments.config) {
            Ok(config) => diagnose(&config, json),
            Err(refused) => refused,
        },
        Command::Restore {
            archive,
            passphrase_file,
            json,
        } => match configuration(arguments.config) {
            Ok(config) => restore(&config, &archive, passphrase_file, json),
            Err(refused) => refused,
        },
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "littorald", &mut script);
            print(&String::from_utf8_lossy(&script))
        }
        Command::Manual { folder } => {
            let mut pages = manual::pages(Arguments::command(), manual::ADMINISTRATION_SECTION);
            pages.push(manual::of_configuration());
            match manual::write(&pages, &folder) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    eprintln!("littorald: cannot write to {}: {error}", folder.display());
                    ExitCode::FAILURE
                }
            }
        }
        Command::Dev(options) => in_runtime(dev::run(options)),
    }
}

/// The configuration, or the exit code after its errors were printed.
fn configuration(path: Option<PathBuf>) -> Result<Config, ExitCode> {
    read_configuration(path).map_err(|errors| {
        eprintln!("littorald: {}", errors.join("\n"));
        ExitCode::from(CONFIG_REFUSED)
    })
}

/// The configuration, or all that stands against it.
fn read_configuration(path: Option<PathBuf>) -> Result<Config, Vec<String>> {
    let path = path.or_else(|| Some(PathBuf::from(DEFAULT_CONFIG)).filter(|path| path.exists()));
    let text = match &path {
        None => String::new(),
        Some(path) => std::fs::read_to_string(path).map_err(|error| {
            vec![format!(
                "cannot read the configuration {}: {error}",
                path.display()
            )]
        })?,
    };
    let parsed = Config::parse(&text, std::env::vars_os());
    let parsed = parsed.map(|mut config| {
        Credentials::from_environment().add_to(&mut config);
        config
    });
    parsed.map_err(|errors| {
        let place = path.map_or_else(
            || "the environment".to_owned(),
            |path| path.display().to_string(),
        );
        let heading = format!("{place} is refused:");
        let errors = errors.into_iter().map(|error| format!("  {error}"));
        std::iter::once(heading).chain(errors).collect()
    })
}

fn print_config(config: &Config, json: bool) -> ExitCode {
    if json {
        print_json(config)
    } else {
        print(&config.to_toml())
    }
}

/// Ends with 1 where a node with this configuration would not start on this box.
fn diagnose(config: &Config, json: bool) -> ExitCode {
    let report = doctor::Report::of(config, doctor::Facts::of_this_box());
    let printed = if json {
        print_json(&report)
    } else {
        print(&report.to_string())
    };
    if report.can_start() {
        printed
    } else {
        ExitCode::FAILURE
    }
}

fn print_json(value: &impl serde::Serialize) -> ExitCode {
    match serde_json::to_string_pretty(value) {
        Ok(text) => print(&format!("{text}\n")),
        Err(error) => {
            eprintln!("littorald: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whoever reads may have seen enough before the end, as `head` does.
fn print(text: &str) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            eprintln!("littorald: cannot print: {error}");
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}

fn run(
    config: Config,
    path: Option<PathBuf>,
    floor: TimeFloor,
    take_over: Option<u32>,
) -> ExitCode {
    // As it was started: what lies there later is what an upgrade starts.
    let program = std::env::current_exe();
    logging::start(
        config.log.level.as_str(),
        config.log.format.as_str() == "json",
        "control",
    );
    let mut service = match Service::from_environment() {
        Ok(service) => service,
        Err(error) => {
            eprintln!("littorald: {error}");
            return ExitCode::from(CONFIG_REFUSED);
        }
    };
    in_runtime(async move {
        if let Some(protocol) = take_over {
            let (predecessor, inherited) = Predecessor::meet(protocol, &config).await?;
            (service.predecessor, service.inherited) = (Some(predecessor), inherited);
        }
        let node = Node::bind(config, service, floor).await?;
        let mut arguments = vec![OsString::from("run")];
        if let Some(path) = &path {
            arguments.extend(["--config".into(), path.into()]);
        }
        let restart = Restart {
            program: program?,
            arguments,
        };
        let node = node.changed_by(Box::new(move || read_configuration(path.clone())), restart);
        let started = node.started();
        tracing::info!(http = ?started.http, admin = ?started.admin, "listening");
        if let Some(key) = started.admin_key {
            tracing::info!(
                key = %key.display(),
                "no key of [auth] is configured: tokens signed with the node's own admin key are believed \
                 (`littoral token create --key`)"
            );
        }
        node.run(littorald::until_told_to_stop(), || tracing::info!("ready"))
            .await?;
        Ok(())
    })
}

fn restore(
    config: &Config,
    archive: &Path,
    passphrase_file: Option<PathBuf>,
    json: bool,
) -> ExitCode {
    logging::start(
        config.log.level.as_str(),
        config.log.format.as_str() == "json",
        "restore",
    );
    in_runtime(async move {
        let passphrase = passphrase_file
            .as_deref()
            .map(read_passphrase)
            .transpose()?;
        let input: Box<dyn Read> = if archive.as_os_str() == "-" {
            Box::new(std::io::stdin().lock())
        } else {
            let file = File::open(archive)
                .map_err(|error| format!("cannot open {}: {error}", archive.display()))?;
            Box::new(BufReader::with_capacity(ARCHIVE_READ_BYTES, file))
        };
        let report = restore_node(config, input, passphrase.as_ref()).await?;
        if json {
            print_json(&report);
            return Ok(());
        }
        let holds = &report.holds;
        let mut text = format!(
            "restored the node {} into {}: {} records, {} components, {} pairs, {} secrets\n",
            report.node,
            config.node.data_dir.display(),
            holds.records,
            holds.components,
            holds.pairs,
            holds.secrets,
        );
        for what in &holds.left_out {
            text.push_str(&format!("not in the archive: {}\n", what.escape_debug()));
        }
        if holds.left_out_count > holds.left_out.len() as u64 {
            text.push_str(&format!(
                "not in the archive in all: {}\n",
                holds.left_out_count
            ));
        }
        print(&text);
        Ok(())
    })
}

fn in_runtime(work: impl Future<Output = Result<(), Box<dyn std::error::Error>>>) -> ExitCode {
    // Whatever file or folder this process makes is this user's alone, sled's included.
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(CONTROL_THREADS)
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("littorald: no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(work) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("littorald: {}", logging::chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}
