//! Tenants' SQL databases on their way into an archive, and out of one.
//!
//! Control opens no database itself: what is in one is whatever its tenant's statements made of it. The process that has
//! the tenant's databases open is asked to read one, and while it does, the bytes of its file and then of its log are
//! copied as they are. While somebody reads, no page goes from the log into the file that is not in the log still, so
//! the two together are the database as of its last commit in the copied log (SQLite, "Write-Ahead Logging").

use std::fs::File;
use std::io::{self, Read, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use control_api::archive::PART_BYTES;
use edge_config::{StoreName, TenantName};
use tokio::runtime::Handle;

use super::place::{UnrestorableError, failed};
use super::{Archive, Moment, WriteError};
use crate::durable::{create_private_dir, sync_dir};
use crate::storage::sql::{file_of, folder_in};

/// What a log begins with: two numbers in it change when it begins anew.
const LOG_HEADER_BYTES: u64 = 32;
/// A log that was all in the file when it was held can begin anew once. Twice is enough then.
const LOG_COPIES_MAX: usize = 2;

impl Moment {
    /// Each as of one commit of its own. One that nobody can be asked to hold is left out, and named.
    ///
    /// Called where blocking is allowed, in a runtime.
    pub(super) fn write_databases(&self, archive: &mut Archive) -> Result<(), WriteError> {
        let runtime = Handle::current();
        for tenant in &self.copy.snapshot.tenants {
            let tenant = &tenant.record.tenant;
            let listed = self.control.databases.list(tenant);
            let found = match (listed, tenant.parse::<TenantName>()) {
                (Ok(found), Ok(tenant)) => found.into_iter().map(move |one| (tenant.clone(), one)),
                (Err(error), _) => {
                    let what = format!("the SQL databases of the tenant {tenant}: {error}");
                    archive.summary.leave_out(what);
                    continue;
                }
                (Ok(_), Err(_)) => continue,
            };
            for (tenant, database) in found {
                let name = &database.name;
                match runtime.block_on(self.control.hold_database(&tenant, name)) {
                    Ok(held) => {
                        self.write_database(tenant.as_str(), name, archive)?;
                        // It was held all the while, or this is refused.
                        let let_go = held.execute("COMMIT".to_owned(), Vec::new());
                        runtime.block_on(let_go).map_err(|fault| {
                            WriteError::Database(io::Error::other(fault.to_string()))
                        })?;
                    }
                    Err(fault) => archive.summary.leave_out(format!(
                        "the SQL database {name:?} of the tenant {tenant}: {fault}"
                    )),
                }
            }
        }
        Ok(())
    }

    fn write_database(
        &self,
        tenant: &str,
        database: &str,
        archive: &mut Archive,
    ) -> Result<(), WriteError> {
        let place = |log| self.control.databases.file(tenant, database, log);
        let mut file = File::open(place(false)).map_err(WriteError::Database)?;
        let bytes = file.metadata().map_err(WriteError::Database)?.len();
        archive.database(tenant, database, false, bytes)?;
        copy(&mut file, bytes, archive)?;
        let mut log = match File::open(place(true)) {
            Ok(log) => log,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(WriteError::Database(error)),
        };
        for _ in 0..LOG_COPIES_MAX {
            let before = header(&mut log).map_err(WriteError::Database)?;
            let bytes = log.metadata().map_err(WriteError::Database)?.len();
            archive.database(tenant, database, true, bytes)?;
            copy(&mut log, bytes, archive)?;
            if header(&mut log).map_err(WriteError::Database)? == before {
                return Ok(());
            }
        }
        let why = "its log began anew while it was held";
        Err(WriteError::Database(io::Error::other(why)))
    }
}

/// How a log begins; shorter where it has just been made.
fn header(log: &mut File) -> io::Result<Vec<u8>> {
    log.rewind()?;
    let mut header = Vec::new();
    log.take(LOG_HEADER_BYTES).read_to_end(&mut header)?;
    log.rewind()?;
    Ok(header)
}

fn copy(file: &mut File, bytes: u64, archive: &mut Archive) -> Result<(), WriteError> {
    let mut buffer = vec![0; PART_BYTES];
    let mut left = bytes;
    while left > 0 {
        let room = usize::try_from(left).unwrap_or(PART_BYTES).min(PART_BYTES);
        let room = buffer.get_mut(..room).unwrap_or_default();
        let read = file.read(room).map_err(WriteError::Database)?;
        if read == 0 {
            let why = "it became shorter while it was read";
            return Err(WriteError::Database(io::Error::other(why)));
        }
        archive.part(room.get(..read).unwrap_or_default())?;
        left -= read as u64;
    }
    Ok(())
}

/// Databases on their way into a directory.
pub(super) struct IncomingDatabases {
    dir: PathBuf,
    /// The one that is being written.
    open: Option<(File, PathBuf)>,
}

impl IncomingDatabases {
    /// Those of an archive, to be made in `dir` once there is one.
    pub(super) fn into(dir: PathBuf) -> Self {
        Self { dir, open: None }
    }

    /// A file begins, instead of one of the same database that came before.
    pub(super) fn begin(
        &mut self,
        tenant: &str,
        database: &str,
        log: bool,
    ) -> Result<(), UnrestorableError> {
        if tenant.parse::<TenantName>().is_err() || database.parse::<StoreName>().is_err() {
            return Err(UnrestorableError::Database {
                tenant: tenant.to_owned(),
                database: database.to_owned(),
            });
        }
        let folder = folder_in(&self.dir, tenant);
        for dir in [&self.dir, &folder] {
            create_private_dir(dir).map_err(failed("create", dir))?;
        }
        let path = folder.join(file_of(database, log));
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .map_err(failed("create", &path))?;
        self.open = Some((file, path));
        Ok(())
    }

    /// Whether the next bytes are a database's.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<bool, UnrestorableError> {
        let Some((file, path)) = &mut self.open else {
            return Ok(false);
        };
        file.write_all(bytes).map_err(failed("write", path))?;
        Ok(true)
    }

    pub(super) fn end(&mut self) -> Result<(), UnrestorableError> {
        if let Some((file, path)) = self.open.take() {
            file.sync_all().map_err(failed("sync", &path))?;
            for dir in [path.parent().unwrap_or(Path::new(".")), &self.dir] {
                sync_dir(dir).map_err(failed("sync", dir))?;
            }
        }
        Ok(())
    }
}
