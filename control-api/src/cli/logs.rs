//! `littoral logs`: what a tenant's guests wrote.

use edge_config::TenantName;

use super::context::{Context, reader_gone};
use super::failure::Failure;
use super::output::{Output, date, plain};
use crate::view::{LogLine, LogStream};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The tenant
    tenant: TenantName,
    /// Stay, and print what comes; in JSON, one line each
    #[arg(long, short)]
    follow: bool,
    /// Only lines after this sequence number
    #[arg(long, value_name = "SEQ")]
    after: Option<u64>,
    /// Begin with this many of the newest lines
    #[arg(long, short = 'n', default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000), value_name = "COUNT")]
    lines: u16,
}

pub(super) async fn run(context: &Context, arguments: Arguments) -> Result<(), Failure> {
    let client = context.client()?;
    let (tenant, lines) = (&arguments.tenant, usize::from(arguments.lines));
    if !arguments.follow {
        let lines = client.logs(tenant, arguments.after, lines).await?;
        return context.show(&lines, || lines.iter().map(text).collect());
    }
    let mut follower = client.follow_logs(tenant, arguments.after, lines).await?;
    let mut gone = std::pin::pin!(reader_gone());
    loop {
        let line = tokio::select! {
            line = follower.next() => line?,
            () = &mut gone => return Err(Failure::ReaderGone),
        };
        let Some(line) = line else { return Ok(()) };
        let shown = match context.output {
            Output::Text => text(&line),
            Output::Json => {
                let json = serde_json::to_string(&line)
                    .map_err(|error| Failure::local("a line cannot be written", error))?;
                format!("{json}\n")
            }
        };
        context.raw(shown.as_bytes())?;
    }
}

fn text(line: &LogLine) -> String {
    let stream = match line.stream {
        LogStream::Stdout => "out",
        LogStream::Stderr => "err",
        LogStream::Node => "node",
    };
    format!(
        "{} {stream:4} {} {} {}\n",
        date(line.at_ms / 1000),
        plain(&line.module),
        plain(&line.request_id),
        plain(&line.text).replace('\n', "\u{fffd}")
    )
}
