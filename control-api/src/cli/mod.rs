//! The command line `littoral`: one file a command.
//!
//! Takes arguments and the environment; promises that programs can rely on standard output (`--output json`) and on the
//! exit code, and people on standard error. Every operation of the API has a command. Never prints a token or a private
//! key unless that is what was asked for.

mod apply;
mod audit;
mod backup;
mod certificate;
mod context;
mod database;
mod deploy;
mod failure;
mod files;
mod grants;
mod key;
mod keygen;
mod limits;
mod logs;
mod module;
mod node;
mod output;
mod progress;
mod route;
mod spin;
mod status;
mod store;
mod tenant;
mod token;
mod usage;
mod variable;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::client::ADMIN_DEFAULT;
use crate::manual::{self, COMMANDS_SECTION};
use context::Context;
pub use failure::ExitStatus;
use failure::Failure;
use output::Output;

/// Talks to a Littoral node: tenants, signed uploads, routes, logs.
///
/// Exit codes: 0 done; 1 refused by the node; 2 wrong usage; 3 the node does not answer; 4 a local file or key cannot be
/// used; 5 something answered that is no Littoral node.
#[derive(Debug, Parser)]
#[command(name = "littoral", version, max_term_width = 100)]
struct Arguments {
    /// Where the node's admin API listens: `http://host:port`, `https://host:port` or `unix:/path`
    #[arg(long, global = true, env = "LITTORAL_ADMIN", default_value = ADMIN_DEFAULT, value_name = "ADDRESS")]
    admin: String,
    /// A file with the token; without it, LITTORAL_TOKEN holds the token or LITTORAL_TOKEN_FILE names the file
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<std::path::PathBuf>,
    /// A PEM file with the only authorities to believe, where the node speaks TLS
    #[arg(long, global = true, env = "LITTORAL_CA_FILE", value_name = "FILE")]
    ca_file: Option<std::path::PathBuf>,
    /// A PEM file with a client certificate and its private key, to be known by instead of a token
    #[arg(long, global = true, env = "LITTORAL_CLIENT_FILE", value_name = "FILE")]
    client_file: Option<std::path::PathBuf>,
    /// Tables for people, or JSON for programs
    #[arg(long, global = true, value_enum, default_value = "text")]
    output: Output,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a key pair for publishing or for issuing tokens
    Keygen(keygen::Arguments),
    /// Issue tokens
    #[command(subcommand)]
    Token(token::Command),
    /// Make, show, change and remove tenants
    #[command(subcommand)]
    Tenant(tenant::Command),
    /// Whose signatures a tenant trusts
    #[command(subcommand)]
    Key(key::Command),
    /// What guests keep in key-value stores
    #[command(subcommand)]
    Store(store::Command),
    /// What guests keep in SQL databases
    #[command(subcommand)]
    Database(database::Command),
    /// What hostnames are served with over TLS
    #[command(subcommand)]
    Certificate(certificate::Command),
    /// Sign a component, upload it, route a hostname to it
    Deploy(deploy::Arguments),
    /// Modules, their versions, uploads under way
    #[command(subcommand)]
    Module(module::Command),
    /// Configuration and secrets that guests read
    #[command(subcommand)]
    Variable(variable::Command),
    /// Hostname and path to module
    #[command(subcommand)]
    Route(route::Command),
    /// What a tenant uses, beside its limits
    Usage(usage::Arguments),
    /// What a tenant's guests wrote
    Logs(logs::Arguments),
    /// How the node stands
    Status,
    /// The node's name, health, metrics and API description
    #[command(subcommand)]
    Node(node::Command),
    /// Who changed what, newest first
    Audit(audit::Arguments),
    /// Make a node have what files say: tenants, keys, modules, variables, routes
    Apply(apply::Arguments),
    /// Say what `apply` would do, and change nothing
    Diff(apply::Files),
    /// Take the whole node as one archive while it serves, or verify one; `littorald restore` puts it on a box
    Backup(backup::Arguments),
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write the manual pages
    Manual {
        /// The folder they go to
        folder: std::path::PathBuf,
    },
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    // Parsing exits by itself: 0 for help and version, 2 for wrong usage.
    let arguments = Arguments::parse();
    let output = arguments.output;
    let status = match run(arguments) {
        Ok(()) => ExitStatus::Done,
        Err(Failure::ReaderGone) => ExitStatus::Done,
        Err(failure) => {
            failure.print(output);
            failure.status()
        }
    };
    ExitCode::from(status as u8)
}

fn run(arguments: Arguments) -> Result<(), Failure> {
    let context = Context::new(
        arguments.admin,
        arguments.token_file,
        [arguments.ca_file, arguments.client_file],
        arguments.output,
    );
    match arguments.command {
        Command::Keygen(arguments) => keygen::run(&context, arguments),
        Command::Token(command) => token::run(&context, command),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(
                shell,
                &mut self::Arguments::command(),
                "littoral",
                &mut script,
            );
            context.raw(&script)
        }
        Command::Manual { folder } => {
            let pages = manual::pages(self::Arguments::command(), COMMANDS_SECTION);
            manual::write(&pages, &folder)
                .map_err(|source| Failure::local("the manual cannot be written", source))
        }
        remote => tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|source| Failure::local("the async runtime cannot start", source))?
            .block_on(ask_node(&context, remote)),
    }
}

async fn ask_node(context: &Context, command: Command) -> Result<(), Failure> {
    match command {
        Command::Tenant(command) => tenant::run(context, command).await,
        Command::Key(command) => key::run(context, command).await,
        Command::Store(command) => store::run(context, command).await,
        Command::Database(command) => database::run(context, command).await,
        Command::Certificate(command) => certificate::run(context, command).await,
        Command::Deploy(arguments) => deploy::run(context, arguments).await,
        Command::Module(command) => module::run(context, command).await,
        Command::Variable(command) => variable::run(context, command).await,
        Command::Route(command) => route::run(context, command).await,
        Command::Usage(arguments) => usage::run(context, arguments).await,
        Command::Logs(arguments) => logs::run(context, arguments).await,
        Command::Status => status::run(context).await,
        Command::Node(command) => node::run(context, command).await,
        Command::Apply(arguments) => apply::run(context, arguments).await,
        Command::Diff(files) => apply::diff(context, files).await,
        Command::Backup(arguments) => backup::run(context, arguments).await,
        Command::Audit(arguments) => audit::run(context, arguments).await,
        // `run` has done these.
        Command::Keygen(_)
        | Command::Token(_)
        | Command::Completions { .. }
        | Command::Manual { .. } => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_holds_together() {
        Arguments::command().debug_assert();
    }
}
