//! `littoral backup`: the whole node in one file.

use std::fs::{File, OpenOptions};
use std::io::{BufReader, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::context::Context;
use super::failure::Failure;
use super::output::{date, facts};
use crate::archive::{ArchiveError, ArchiveReader, Header, Summary, read_passphrase};
use crate::view::{BackupWrite, SecretText};

/// Read of an archive at once, in bytes.
const READ_BYTES: usize = 256 * 1024;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Where the archive goes; a file of that name is replaced once the new archive is whole
    #[arg(
        short = 'o',
        long = "archive",
        value_name = "FILE",
        required_unless_present = "verify"
    )]
    archive: Option<PathBuf>,
    /// A file with the passphrase (12 to 1024 bytes) that secrets are sealed under; without it none is in the archive
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// Ask no node: read this archive to its end and say what it holds
    #[arg(long, value_name = "FILE", conflicts_with = "archive")]
    verify: Option<PathBuf>,
}

/// What is said of an archive.
#[derive(Debug, Serialize)]
struct Report {
    archive: PathBuf,
    node: String,
    littoral: String,
    created_at: u64,
    revision: u64,
    sealed: bool,
    #[serde(flatten)]
    holds: Summary,
}

pub(super) async fn run(context: &Context, arguments: Arguments) -> Result<(), Failure> {
    let passphrase =
        match &arguments.passphrase_file {
            None => None,
            Some(path) => Some(read_passphrase(path).map_err(|error| {
                Failure::local(format!("{} is of no use", path.display()), error)
            })?),
        };
    let archive = match (arguments.verify, arguments.archive) {
        (Some(archive), _) => archive,
        (None, Some(archive)) => {
            return take(context, archive, passphrase).await;
        }
        // The command's definition asks for one of the two.
        (None, None) => return Err(Failure::Usage("name a file for the archive".to_owned())),
    };
    let (header, holds) = verify(&archive, passphrase.as_ref())?;
    show(context, archive, header, holds)
}

async fn take(
    context: &Context,
    archive: PathBuf,
    passphrase: Option<SecretText>,
) -> Result<(), Failure> {
    let unfinished = unfinished(&archive)?;
    let failed = |source: std::io::Error| {
        Failure::local(
            format!("{} cannot be written", unfinished.display()),
            source,
        )
    };
    let write = BackupWrite { passphrase };
    let mut download = context.client()?.backup(&write).await?;
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&unfinished)
        .map_err(failed)?;
    let broken = loop {
        match download.chunk().await {
            Ok(Some(bytes)) => file.write_all(&bytes).map_err(failed)?,
            Ok(None) => break None,
            Err(error) => break Some(error),
        }
    };
    file.sync_all().map_err(failed)?;
    drop(file);
    // What came may say why nothing more did.
    let verified = verify(&unfinished, write.passphrase.as_ref());
    let outcome: Result<_, Failure> = match (verified, broken) {
        // That it is cut off says less than how.
        (Err(Refused(_, ArchiveError::CutOff { .. })), Some(broken)) => Err(broken.into()),
        (Err(refused), _) => Err(refused.into()),
        (Ok(_), Some(broken)) => Err(broken.into()),
        (Ok(whole), None) => Ok(whole),
    };
    let (header, holds) = outcome.inspect_err(|_| {
        // Of no use to anybody, and replaced by the next attempt where it stays.
        std::fs::remove_file(&unfinished).ok();
    })?;
    std::fs::rename(&unfinished, &archive)
        .and_then(|()| match archive.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
            _ => File::open(".")?.sync_all(),
        })
        .map_err(failed)?;
    show(context, archive, header, holds)
}

/// Beside the archive, under a name that is not taken for one.
fn unfinished(archive: &Path) -> Result<PathBuf, Failure> {
    let name = archive
        .file_name()
        .ok_or_else(|| Failure::Usage(format!("{} is no file name", archive.display())))?;
    let mut name = name.to_owned();
    name.push(".part");
    Ok(archive.with_file_name(name))
}

/// An archive and what is wrong with it.
struct Refused(PathBuf, ArchiveError);

impl From<Refused> for Failure {
    fn from(Refused(archive, error): Refused) -> Self {
        Self::local(format!("{} is not to be used", archive.display()), error)
    }
}

fn verify(archive: &Path, passphrase: Option<&SecretText>) -> Result<(Header, Summary), Refused> {
    let refused = |error| Refused(archive.to_owned(), error);
    let file = File::open(archive).map_err(|error| refused(ArchiveError::Io(error)))?;
    let file = BufReader::with_capacity(READ_BYTES, file);
    let mut reader = ArchiveReader::open(file).map_err(refused)?;
    if let Some(passphrase) = passphrase {
        reader.unlock(passphrase).map(drop).map_err(refused)?;
    }
    reader.verify().map_err(refused)
}

fn show(
    context: &Context,
    archive: PathBuf,
    header: Header,
    holds: Summary,
) -> Result<(), Failure> {
    let report = Report {
        archive,
        node: header.node,
        littoral: header.littoral,
        created_at: header.created_at,
        revision: header.revision,
        sealed: header.sealing.is_some(),
        holds,
    };
    context.show(&report, || {
        let holds = &report.holds;
        let secrets = if report.sealed {
            format!("{}, under a passphrase", holds.secrets)
        } else {
            "none: it was written without a passphrase".to_owned()
        };
        let mut text = facts(&[
            ("archive", report.archive.display().to_string()),
            ("node", report.node.clone()),
            ("written by", format!("littoral {}", report.littoral)),
            ("begun", date(report.created_at)),
            ("revision", report.revision.to_string()),
            ("records", holds.records.to_string()),
            (
                "components",
                format!("{} ({} bytes)", holds.components, holds.component_bytes),
            ),
            ("pairs", holds.pairs.to_string()),
            (
                "databases",
                format!("{} ({} bytes)", holds.databases, holds.database_bytes),
            ),
            ("secrets", secrets),
        ]);
        for what in &holds.left_out {
            text.push_str(&format!("left out: {}\n", super::output::plain(what)));
        }
        if holds.left_out_count > holds.left_out.len() as u64 {
            text.push_str(&format!("left out in all: {}\n", holds.left_out_count));
        }
        text
    })
}
