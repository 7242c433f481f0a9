//! The authorities whose certificates guests' TLS believes: the system's and the operator's.

use std::path::{Path, PathBuf};

use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;

/// Most bytes of certificates that workers are given; the systems' come to some 200 KiB.
const BYTES_MAX: usize = 4 << 20;

/// Why the operator's authorities cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AuthoritiesError {
    /// A file is not what it should be.
    #[error("outbound.ca_files: cannot use {}: {why}; allowed: a file with certificates in PEM", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// All together are too many.
    #[error(
        "outbound.ca_files: all certificates, the system's included, come to {bytes} bytes; allowed: {BYTES_MAX}"
    )]
    TooMany {
        /// Their bytes.
        bytes: usize,
    },
}

/// The certificates (DER) of the system's authorities and of those in these files. A system without any is served with a
/// warning where there are no files either.
///
/// # Errors
/// [`AuthoritiesError`], for the operator's files alone: what is not readable of the system's is left out.
pub(in crate::control) fn authorities(files: &[PathBuf]) -> Result<Vec<Vec<u8>>, AuthoritiesError> {
    let system = rustls_native_certs::load_native_certs();
    for error in &system.errors {
        tracing::debug!(%error, "an authority of the system is left out");
    }
    let mut all: Vec<Vec<u8>> = system.certs.iter().map(|der| der.to_vec()).collect();
    for path in files {
        all.extend(in_file(path)?);
    }
    if all.is_empty() {
        tracing::info!("no authority is known: guests' requests to https:// will fail");
    }
    let bytes = all.iter().map(Vec::len).sum();
    if bytes > BYTES_MAX {
        return Err(AuthoritiesError::TooMany { bytes });
    }
    Ok(all)
}

fn in_file(path: &Path) -> Result<Vec<Vec<u8>>, AuthoritiesError> {
    let failed = |why: String| AuthoritiesError::File {
        path: path.to_owned(),
        why,
    };
    let found = CertificateDer::pem_file_iter(path).map_err(|error| failed(error.to_string()))?;
    let found: Result<Vec<_>, _> = found.map(|der| der.map(|der| der.to_vec())).collect();
    match found {
        Ok(found) if found.is_empty() => Err(failed("it has none".to_owned())),
        Ok(found) => Ok(found),
        Err(error) => Err(failed(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_certificates_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        let refused = authorities(std::slice::from_ref(&path))
            .unwrap_err()
            .to_string();
        assert!(
            refused.contains("ca.pem") && refused.contains("allowed:"),
            "{refused}"
        );
        std::fs::write(&path, "no certificate\n").unwrap();
        let refused = authorities(&[path]).unwrap_err().to_string();
        assert!(refused.contains("it has none"), "{refused}");
    }
}
