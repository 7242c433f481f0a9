//! `littoral audit`: who changed what, newest first.

use super::context::{Context, all};
use super::failure::Failure;
use super::output::{date, table};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// How many of the newest changes
    #[arg(long, short = 'n', default_value_t = 100, value_name = "COUNT")]
    entries: usize,
}

pub(super) async fn run(context: &Context, arguments: Arguments) -> Result<(), Failure> {
    let client = context.client()?;
    let entries = all(arguments.entries, async |page| client.audit(&page).await).await?;
    context.show(&entries, || {
        let rows: Vec<_> = entries
            .iter()
            .map(|entry| {
                [
                    entry.seq.to_string(),
                    date(entry.at),
                    entry.who.clone(),
                    entry.action.clone(),
                    entry.resource.clone(),
                    entry.request_id.clone(),
                ]
            })
            .collect();
        table(["SEQ", "AT", "WHO", "ACTION", "RESOURCE", "REQUEST"], &rows)
    })
}
