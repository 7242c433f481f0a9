//! The daemon's binary: which kind of process this is.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
use control_api::manual;
use edge_config::Config;
use littorald::control::service::{Credentials, Service};
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
    };
    match arguments.command.unwrap_or(run_it) {
        Command::Worker => worker::main(),
        Command::Compile => artifact::compile::child_main(),
        Command::Databases => storage::sql::child_main(),
        Command::Run { clock_is_right } => match configuration(arguments.config) {
            Ok(config) if clock_is_right => run(config, TimeFloor::Reset),
            Ok(config) => run(config, TimeFloor::Kept),
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
    let refused = ExitCode::from(CONFIG_REFUSED);
    let path = path.or_else(|| Some(PathBuf::from(DEFAULT_CONFIG)).filter(|path| path.exists()));
    let text = match &path {
        None => String::new(),
        Some(path) => std::fs::read_to_string(path).map_err(|error| {
            eprintln!(
                "littorald: cannot read the configuration {}: {error}",
                path.display()
            );
            refused
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
        eprintln!("littorald: {place} is refused:");
        for error in errors {
            eprintln!("  {error}");
        }
        refused
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

fn run(config: Config, floor: TimeFloor) -> ExitCode {
    logging::start(
        config.log.level.as_str(),
        config.log.format.as_str() == "json",
        "control",
    );
    let service = match Service::from_environment() {
        Ok(service) => service,
        Err(error) => {
            eprintln!("littorald: {error}");
            return ExitCode::from(CONFIG_REFUSED);
        }
    };
    in_runtime(async move {
        let node = Node::bind(config, service, floor).await?;
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
