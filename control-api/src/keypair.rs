//! Ed25519 key pairs: made, written to files, read back, shown as JSON Web Keys.
//!
//! Takes random bytes from the operating system or a PKCS#8 file; promises a file that only its owner can read and that
//! openssl understands. Never prints a private key.

use std::fs::OpenOptions;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, ParsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use crate::view::PublicJwk;

/// Bytes of an Ed25519 public key (RFC 8032 §5.1.5).
pub const PUBLIC_KEY_BYTES: usize = 32;
/// Largest key file that is read, in bytes; a real one has about 120.
const FILE_BYTES_MAX: u64 = 16 * 1024;
const PEM_BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const PEM_END: &str = "-----END PRIVATE KEY-----";
/// Characters in a line of PEM (RFC 7468 §2).
const PEM_LINE: usize = 64;

/// Why a key cannot be made, written or read.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file cannot be read or written.
    #[error("the key file {} cannot be {doing}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// `read` or `written`.
        doing: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Not an Ed25519 private key in PKCS#8 PEM.
    #[error("{} is not an Ed25519 private key in PKCS#8 PEM form: {why}", .path.display())]
    NotAKey {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        why: &'static str,
    },
    /// The operating system gave no random bytes.
    #[error("no key could be made")]
    Generate,
}

/// An Ed25519 private key with its public half.
///
/// Its debug form and its public half can be shown; the private half leaves only through [`PrivateKey::write_new`].
pub struct PrivateKey {
    pair: Ed25519KeyPair,
    pkcs8: Vec<u8>,
    kid: String,
}

impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PrivateKey")
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

impl PrivateKey {
    /// A new key.
    ///
    /// # Errors
    /// [`KeyFileError::Generate`] where the operating system gives no random bytes.
    pub fn generate() -> Result<Self, KeyFileError> {
        // Version 1 of PKCS#8, the one that openssl writes and reads.
        let document = Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new())
            .map_err(|_| KeyFileError::Generate)?;
        Self::from_pkcs8(document.as_ref()).ok_or(KeyFileError::Generate)
    }

    fn from_pkcs8(pkcs8: &[u8]) -> Option<Self> {
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8).ok()?;
        let kid = thumbprint(&URL_SAFE_NO_PAD.encode(pair.public_key().as_ref()));
        Some(Self {
            pair,
            pkcs8: pkcs8.to_vec(),
            kid,
        })
    }

    /// Reads a PKCS#8 PEM file, ours or openssl's (`openssl genpkey -algorithm ed25519`).
    ///
    /// # Errors
    /// [`KeyFileError::File`], [`KeyFileError::NotAKey`].
    pub fn read(path: &Path) -> Result<Self, KeyFileError> {
        let not_a_key = |why| KeyFileError::NotAKey {
            path: path.to_owned(),
            why,
        };
        let mut text = String::new();
        std::fs::File::open(path)
            .and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text))
            .map_err(|source| KeyFileError::File {
                path: path.to_owned(),
                doing: "read",
                source,
            })?;
        let (_, rest) = text
            .split_once(PEM_BEGIN)
            .ok_or_else(|| not_a_key("it has no `BEGIN PRIVATE KEY` line"))?;
        let (body, _) = rest
            .split_once(PEM_END)
            .ok_or_else(|| not_a_key("it has no `END PRIVATE KEY` line"))?;
        let body: String = body.split_ascii_whitespace().collect();
        let pkcs8 = STANDARD
            .decode(body)
            .map_err(|_| not_a_key("its body is not base64"))?;
        Self::from_pkcs8(&pkcs8).ok_or_else(|| not_a_key("its body holds another kind of key"))
    }

    /// Writes a new file that only its owner can read (mode 0600); an existing one is never overwritten. The file
    /// appears whole, and after this returned it survives a power cut.
    ///
    /// # Errors
    /// [`KeyFileError::File`], also where the file is already there.
    pub fn write_new(&self, path: &Path) -> Result<(), KeyFileError> {
        write_whole_new(path, self.pem().as_bytes()).map_err(|source| KeyFileError::File {
            path: path.to_owned(),
            doing: "written",
            source,
        })
    }

    fn pem(&self) -> String {
        let body = STANDARD.encode(&self.pkcs8);
        let mut text = format!("{PEM_BEGIN}\n");
        let mut rest = body.as_str();
        while !rest.is_empty() {
            let (line, after) = rest.split_at(rest.len().min(PEM_LINE));
            text.push_str(line);
            text.push('\n');
            rest = after;
        }
        text.push_str(PEM_END);
        text.push('\n');
        text
    }

    /// The key's id: the RFC 7638 thumbprint of its public half.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The public half.
    pub fn public(&self) -> PublicJwk {
        PublicJwk {
            kty: "OKP".to_owned(),
            crv: "Ed25519".to_owned(),
            x: URL_SAFE_NO_PAD.encode(self.pair.public_key().as_ref()),
            kid: Some(self.kid.clone()),
            alg: Some("EdDSA".to_owned()),
            key_use: Some("sig".to_owned()),
        }
    }

    /// Signs a compact JWS (RFC 7515 §3.1) over `claims`, with `typ` in its header and this key's `kid`.
    pub(crate) fn sign_compact<C: serde::Serialize>(&self, typ: &str, claims: &C) -> String {
        let header = serde_json::json!({ "alg": "EdDSA", "kid": self.kid, "typ": typ });
        let claims = serde_json::to_vec(claims)
            .expect("claims are plain structs with string keys and always serialize");
        let mut text = URL_SAFE_NO_PAD.encode(header.to_string());
        text.push('.');
        text.push_str(&URL_SAFE_NO_PAD.encode(claims));
        let signature = URL_SAFE_NO_PAD.encode(self.pair.sign(text.as_bytes()).as_ref());
        text.push('.');
        text.push_str(&signature);
        text
    }
}

/// The RFC 7638 thumbprint of an Ed25519 key: members in lexicographic order, SHA-256, base64url.
fn thumbprint(x: &str) -> String {
    let text = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, text.as_bytes()))
}

impl PublicJwk {
    /// The 32 bytes of the key, once every member is what it must be.
    ///
    /// # Errors
    /// The member and what is wrong with it, for [`crate::error::PlaneError::InvalidValue`].
    pub fn bytes(&self) -> Result<[u8; PUBLIC_KEY_BYTES], (&'static str, String)> {
        let must_be = |member: &'static str, found: &str, wanted: &str| {
            (found == wanted).then_some(()).ok_or_else(|| {
                (
                    member,
                    format!("it is {found:?}; only {wanted:?} is accepted"),
                )
            })
        };
        must_be("kty", &self.kty, "OKP")?;
        must_be("crv", &self.crv, "Ed25519")?;
        if let Some(alg) = &self.alg {
            must_be("alg", alg, "EdDSA")?;
        }
        if let Some(key_use) = &self.key_use {
            must_be("use", key_use, "sig")?;
        }
        let bytes = URL_SAFE_NO_PAD
            .decode(&self.x)
            .map_err(|error| ("x", format!("it is not base64url without padding: {error}")))?;
        let length = bytes.len();
        let bytes = <[u8; PUBLIC_KEY_BYTES]>::try_from(bytes).map_err(|_| {
            (
                "x",
                format!("it has {length} bytes; an Ed25519 key has {PUBLIC_KEY_BYTES}"),
            )
        })?;
        ParsedPublicKey::new(&ED25519, bytes)
            .map_err(|_| ("x", "it is no point of the curve".to_owned()))?;
        Ok(bytes)
    }

    /// The key's id: its `kid`, or its RFC 7638 thumbprint where it has none.
    pub fn id(&self) -> String {
        self.kid.clone().unwrap_or_else(|| thumbprint(&self.x))
    }
}

/// A JWK Set document (RFC 7517 §5) of these keys, as a node's JWKS file holds them.
pub fn jwks_document(keys: &[PublicJwk]) -> String {
    let mut text = serde_json::to_string_pretty(&serde_json::json!({ "keys": keys }))
        .expect("keys have string members only and always serialize");
    text.push('\n');
    text
}

/// A power cut between a name and its contents would leave half a key, which nobody could use and which would stand in
/// the way of a new one: hence a temporary name first. What a cut left under that name is replaced.
fn write_whole_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    let temporary = Path::new(&temporary);
    match std::fs::remove_file(temporary) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(temporary)?;
    let named = file
        .write_all(bytes)
        .and_then(|()| file.sync_all())
        .and_then(|()| name_new(temporary, path));
    let removed = std::fs::remove_file(temporary);
    named?;
    if let Err(error) = removed
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    std::fs::File::open(folder)?.sync_all()
}

/// A second name, since that fails where the name is taken; on filesystems without (FAT on a card) a rename does.
fn name_new(temporary: &Path, path: &Path) -> io::Result<()> {
    match std::fs::hard_link(temporary, path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied && !path.exists() => {
            std::fs::rename(temporary, path)
        }
        linked => linked,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_key_survives_its_file_and_only_its_owner_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pem");
        let key = PrivateKey::generate().unwrap();
        key.write_new(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let read = PrivateKey::read(&path).unwrap();
        assert_eq!(read.public(), key.public());
        assert!(matches!(
            key.write_new(&path),
            Err(KeyFileError::File { source, .. }) if source.kind() == std::io::ErrorKind::AlreadyExists
        ));
        assert_eq!(PrivateKey::read(&path).unwrap().public(), key.public());
        let names = std::fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(names, 1, "nothing unfinished stays");
    }

    #[test]
    fn what_a_power_cut_left_of_a_key_does_not_stand_in_the_way() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pem");
        std::fs::write(folder.path().join("key.pem.tmp"), "half").unwrap();
        let key = PrivateKey::generate().unwrap();
        key.write_new(&path).unwrap();
        assert_eq!(PrivateKey::read(&path).unwrap().public(), key.public());
    }

    #[test]
    fn openssls_form_is_read_and_written() {
        // RFC 8410 §10.3, the private key without attributes.
        let pem = "-----BEGIN PRIVATE KEY-----\n\
                   MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
                   -----END PRIVATE KEY-----\n";
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pem");
        std::fs::write(&path, pem).unwrap();
        let key = PrivateKey::read(&path).unwrap();
        assert_eq!(
            key.public().x,
            "Gb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE"
        );
        assert_eq!(key.pem(), pem);
    }

    #[test]
    fn other_files_are_refused_with_a_reason() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pem");
        for (text, wanted) in [
            ("hello", "no `BEGIN"),
            ("-----BEGIN PRIVATE KEY-----\nAAAA", "no `END"),
            (
                "-----BEGIN PRIVATE KEY-----\n!\n-----END PRIVATE KEY-----",
                "not base64",
            ),
            (
                "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----",
                "another kind",
            ),
        ] {
            std::fs::write(&path, text).unwrap();
            let why = PrivateKey::read(&path).unwrap_err().to_string();
            assert!(why.contains(wanted), "{why}");
        }
    }

    #[test]
    fn the_thumbprint_is_that_of_rfc_8037() {
        assert_eq!(
            thumbprint("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"),
            "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
        );
    }

    #[test]
    fn a_public_key_names_the_member_that_is_wrong() {
        let good = PrivateKey::generate().unwrap().public();
        assert!(good.bytes().is_ok());
        let wrong = |change: fn(&mut PublicJwk)| {
            let mut jwk = good.clone();
            change(&mut jwk);
            jwk.bytes().unwrap_err().0
        };
        assert_eq!(wrong(|jwk| jwk.kty = "RSA".to_owned()), "kty");
        assert_eq!(wrong(|jwk| jwk.crv = "X25519".to_owned()), "crv");
        assert_eq!(wrong(|jwk| jwk.alg = Some("ES256".to_owned())), "alg");
        assert_eq!(wrong(|jwk| jwk.key_use = Some("enc".to_owned())), "use");
        assert_eq!(wrong(|jwk| jwk.x = "AAAA".to_owned()), "x");
        assert_eq!(wrong(|jwk| jwk.x.push('=')), "x");
    }
}
