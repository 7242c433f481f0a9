//! `littoral keygen`: a key pair for publishing or for issuing tokens.

use std::io::Write as _;
use std::path::PathBuf;

use super::context::Context;
use super::failure::Failure;
use super::output::facts;
use crate::keypair::{PrivateKey, jwks_document};

/// Makes an Ed25519 key. The private half goes into a new file that only you can read, the public half is printed.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The new file for the private key (PKCS#8 PEM, mode 0600)
    #[arg(value_name = "FILE")]
    out: PathBuf,
    /// Write the public half as a JWK Set as well, for a node's `jwks_files`; the file must not exist
    #[arg(long, value_name = "FILE")]
    jwks: Option<PathBuf>,
}

pub(super) fn run(context: &Context, arguments: Arguments) -> Result<(), Failure> {
    let key = PrivateKey::generate()?;
    key.write_new(&arguments.out)?;
    if let Some(path) = &arguments.jwks {
        std::fs::File::create_new(path)
            .and_then(|mut file| file.write_all(jwks_document(&[key.public()]).as_bytes()))
            .map_err(|source| {
                Failure::local(format!("{} cannot be written", path.display()), source)
            })?;
    }
    context.show(&key.public(), || {
        facts(&[
            ("key id", key.kid().to_owned()),
            ("public key", key.public().x),
            ("private key in", arguments.out.display().to_string()),
        ])
    })
}
