//! The key that authenticates artifacts: made on this node, known to control alone, never sent anywhere. And files of
//! such keys, of which control has another.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;

use aws_lc_rs::{hmac, rand};
use rustix::fs::{AtFlags, Mode, Stat, fstat, unlinkat};
use rustix::io::Errno;
use zeroize::Zeroizing;

use super::files;

const KEY_BYTES: usize = 32;
const ARTIFACT_KEY: KeyFile = KeyFile {
    name: "artifact.key",
    unfinished: "artifact.key.new",
    lost: "every artifact is then compiled again",
};

/// An HMAC-SHA256 key (RFC 2104). Neither shown nor copied.
pub struct ArtifactKey(pub(super) hmac::Key);

/// A file with a key of this node's own making.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KeyFile {
    /// Its name in the folder of keys.
    pub(crate) name: &'static str,
    /// The name of one that was not finished; an unfinished key is of no use, so it is made again.
    pub(crate) unfinished: &'static str,
    /// What follows from having a new one made.
    pub(crate) lost: &'static str,
}

/// There is no usable key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file system.
    #[error("the key {file} cannot be read or made")]
    Io {
        /// Which.
        file: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Somebody else could have put or read it.
    #[error(
        "the key {file} {what}: it must be a regular file of {KEY_BYTES} bytes that \
         only this daemon's user may read (mode 0600). Remove it to have a new one made; {lost}"
    )]
    NotTrusted {
        /// Which.
        file: &'static str,
        /// What is wrong.
        what: &'static str,
        /// What follows from having a new one made.
        lost: &'static str,
    },
}

impl ArtifactKey {
    /// Reads the key in `keys_dir`, or makes one, whole and durable or not at all.
    ///
    /// # Errors
    /// [`KeyError::NotTrusted`] if others may read or have written it; [`KeyError::Io`].
    pub fn open_or_create(keys_dir: &Path) -> Result<Self, KeyError> {
        let bytes = ARTIFACT_KEY.open_or_create(keys_dir)?;
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &*bytes)))
    }
}

impl KeyFile {
    /// Reads the key in `keys_dir`, or makes one, whole and durable or not at all.
    ///
    /// # Errors
    /// [`KeyError::NotTrusted`] if others may read or have written it; [`KeyError::Io`].
    pub(crate) fn open_or_create(
        self,
        keys_dir: &Path,
    ) -> Result<Zeroizing<[u8; KEY_BYTES]>, KeyError> {
        let failed = |source| KeyError::Io {
            file: self.name,
            source,
        };
        let dir = files::open_private_dir(keys_dir).map_err(failed)?;
        let file = match files::open_to_read(&dir, self.name) {
            Ok(file) => file,
            Err(Errno::NOENT) => {
                self.create(&dir).map_err(failed)?;
                files::open_to_read(&dir, self.name).map_err(|error| failed(error.into()))?
            }
            Err(Errno::LOOP) => return Err(self.not_trusted("is a link")),
            Err(error) => return Err(failed(error.into())),
        };
        let stat = fstat(&file).map_err(|error| failed(error.into()))?;
        if let Some(what) = what_is_wrong(&stat) {
            return Err(self.not_trusted(what));
        }
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        let mut file: File = file;
        file.read_exact(&mut *bytes).map_err(failed)?;
        Ok(bytes)
    }

    fn not_trusted(self, what: &'static str) -> KeyError {
        KeyError::NotTrusted {
            file: self.name,
            what,
            lost: self.lost,
        }
    }

    fn create(self, dir: &OwnedFd) -> io::Result<()> {
        match unlinkat(dir, self.unfinished, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        rand::fill(&mut *bytes).map_err(|_| io::Error::other("no random bytes"))?;
        let mut file = files::create(dir, self.unfinished)?;
        file.write_all(&*bytes)?;
        rustix::fs::fchmod(&file, Mode::RUSR | Mode::WUSR)?;
        file.sync_all()?;
        // Another process may have been first: its key is as good, and is what both read.
        if !files::rename_new((dir, self.unfinished), (dir, self.name))? {
            unlinkat(dir, self.unfinished, AtFlags::empty())?;
        }
        files::sync_dir(dir)
    }
}

fn what_is_wrong(stat: &Stat) -> Option<&'static str> {
    let readable_by_others = Mode::from_raw_mode(stat.st_mode).intersects(Mode::RWXG | Mode::RWXO);
    if !files::is_regular(stat) {
        Some("is not a regular file")
    } else if !files::is_ours(stat) {
        Some("belongs to another user")
    } else if readable_by_others {
        Some("may be used by others")
    } else if files::size_bytes(stat) != KEY_BYTES as u64 {
        Some("has another length")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn tag(key: &ArtifactKey) -> Vec<u8> {
        hmac::sign(&key.0, b"x").as_ref().to_vec()
    }

    #[test]
    fn a_key_is_made_once_and_kept_private() {
        let dir = tempfile::tempdir().unwrap();
        let keys = dir.path().join("keys");
        let first = ArtifactKey::open_or_create(&keys).unwrap();
        let again = ArtifactKey::open_or_create(&keys).unwrap();
        assert_eq!(tag(&first), tag(&again));
        let file = keys.join(ARTIFACT_KEY.name);
        assert_eq!(
            fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(
            fs::metadata(&keys).unwrap().permissions().mode() & 0o777,
            0o700
        );
        assert_eq!(
            fs::read_dir(&keys).unwrap().count(),
            1,
            "nothing unfinished stays"
        );
        let other = tempfile::tempdir().unwrap();
        let other = ArtifactKey::open_or_create(other.path()).unwrap();
        assert_ne!(tag(&first), tag(&other));
    }

    #[test]
    fn an_unfinished_key_is_made_again() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(ARTIFACT_KEY.unfinished), b"half").unwrap();
        ArtifactKey::open_or_create(dir.path()).unwrap();
        assert!(!dir.path().join(ARTIFACT_KEY.unfinished).exists());
    }

    #[test]
    fn a_key_that_others_had_a_hand_in_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        ArtifactKey::open_or_create(dir.path()).unwrap();
        let file = dir.path().join(ARTIFACT_KEY.name);
        let refused = || match ArtifactKey::open_or_create(dir.path()) {
            Err(KeyError::NotTrusted { what, .. }) => what,
            Err(KeyError::Io { source, .. }) => panic!("{source}"),
            Ok(_) => panic!("accepted"),
        };
        fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
        assert_eq!(refused(), "may be used by others");
        fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        fs::write(&file, [0; 31]).unwrap();
        assert_eq!(refused(), "has another length");
        let elsewhere = dir.path().join("elsewhere");
        fs::rename(&file, &elsewhere).unwrap();
        symlink(&elsewhere, &file).unwrap();
        assert_eq!(refused(), "is a link");
    }
}
