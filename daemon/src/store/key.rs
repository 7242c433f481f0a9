//! Keys: every record of the node in one ordered space.
//!
//! One tree for everything, never a tree per tenant: sled pays for each tree in files and memory, and gives little of
//! it back. A key is one tag byte and then its parts. Text parts end in a zero byte; the bytes 0 and 1 inside a part
//! are escaped as 1 1 and 1 2. So no part can run into the next one, no key is the beginning of another, and encoded
//! keys sort as the parts do. Names that pass the edge configuration's rules hold no such bytes and pay nothing.

/// Where a record lives.
///
/// The order of variants is the order of their tags: encoded keys sort exactly as `Key` does.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// One audit entry, by the sequence number of its change.
    Audit {
        /// The change's sequence number.
        seq: u64,
    },
    /// A certificate.
    Certificate {
        /// The tenant that has it.
        tenant: String,
        /// Its name.
        certificate: String,
    },
    /// The highest version ever accepted of a module that is gone.
    Floor {
        /// The tenant that had it.
        tenant: String,
        /// The module's name.
        module: String,
    },
    /// A publisher's public key.
    PublisherKey {
        /// The tenant that trusts it.
        tenant: String,
        /// The key's id.
        kid: String,
    },
    /// A module.
    Module {
        /// The tenant that has it.
        tenant: String,
        /// Its name.
        module: String,
    },
    /// The node's own record.
    Node,
    /// A route.
    Route {
        /// The hostname pattern.
        host: String,
        /// The path prefix.
        path: String,
    },
    /// A tenant.
    Tenant {
        /// Its name.
        tenant: String,
    },
    /// What a tenant used.
    Usage {
        /// Its name.
        tenant: String,
    },
    /// A variable.
    Variable {
        /// The tenant that has it.
        tenant: String,
        /// Its id.
        variable: String,
    },
}

/// Bytes that are no key of this store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not a key of this store: {why}", bytes.escape_ascii())]
pub struct KeyError {
    bytes: Vec<u8>,
    why: &'static str,
}

const AUDIT: u8 = b'a';
const CERTIFICATE: u8 = b'c';
const FLOOR: u8 = b'f';
const PUBLISHER_KEY: u8 = b'k';
const MODULE: u8 = b'm';
const NODE: u8 = b'n';
const ROUTE: u8 = b'r';
const TENANT: u8 = b't';
const USAGE: u8 = b'u';
const VARIABLE: u8 = b'v';

const END: u8 = 0;
const ESCAPE: u8 = 1;

impl Key {
    /// The key as stored.
    pub(super) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Audit { seq } => {
                let mut bytes = vec![AUDIT];
                bytes.extend_from_slice(&seq.to_be_bytes());
                bytes
            }
            Self::Certificate {
                tenant,
                certificate,
            } => text_key(CERTIFICATE, &[tenant, certificate]),
            Self::Floor { tenant, module } => text_key(FLOOR, &[tenant, module]),
            Self::PublisherKey { tenant, kid } => text_key(PUBLISHER_KEY, &[tenant, kid]),
            Self::Module { tenant, module } => text_key(MODULE, &[tenant, module]),
            Self::Node => vec![NODE],
            Self::Route { host, path } => text_key(ROUTE, &[host, path]),
            Self::Tenant { tenant } => text_key(TENANT, &[tenant]),
            Self::Usage { tenant } => text_key(USAGE, &[tenant]),
            Self::Variable { tenant, variable } => text_key(VARIABLE, &[tenant, variable]),
        }
    }

    /// Reads a stored key.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, KeyError> {
        let refuse = |why| KeyError {
            bytes: bytes.to_vec(),
            why,
        };
        let (&tag, mut rest) = bytes.split_first().ok_or_else(|| refuse("it is empty"))?;
        let mut text = || -> Result<String, KeyError> {
            let (part, after) = take_text(rest).map_err(refuse)?;
            rest = after;
            Ok(part)
        };
        let key = match tag {
            AUDIT => {
                let seq = rest
                    .try_into()
                    .map_err(|_| refuse("a sequence number has 8 bytes"))?;
                return Ok(Self::Audit {
                    seq: u64::from_be_bytes(seq),
                });
            }
            CERTIFICATE => Self::Certificate {
                tenant: text()?,
                certificate: text()?,
            },
            FLOOR => Self::Floor {
                tenant: text()?,
                module: text()?,
            },
            PUBLISHER_KEY => Self::PublisherKey {
                tenant: text()?,
                kid: text()?,
            },
            MODULE => Self::Module {
                tenant: text()?,
                module: text()?,
            },
            NODE => Self::Node,
            ROUTE => Self::Route {
                host: text()?,
                path: text()?,
            },
            TENANT => Self::Tenant { tenant: text()? },
            USAGE => Self::Usage { tenant: text()? },
            VARIABLE => Self::Variable {
                tenant: text()?,
                variable: text()?,
            },
            _ => return Err(refuse("its tag is none of acfkmnrtuv")),
        };
        if rest.is_empty() {
            Ok(key)
        } else {
            Err(refuse("bytes follow its last part"))
        }
    }

    /// Whether the bytes are the key of an audit entry.
    pub(super) fn is_audit(bytes: &[u8]) -> bool {
        bytes.first() == Some(&AUDIT)
    }
}

fn text_key(tag: u8, parts: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + parts.iter().map(|part| part.len() + 1).sum::<usize>());
    bytes.push(tag);
    for part in parts {
        for &byte in part.as_bytes() {
            if byte <= ESCAPE {
                bytes.push(ESCAPE);
            }
            bytes.push(if byte <= ESCAPE { byte + 1 } else { byte });
        }
        bytes.push(END);
    }
    bytes
}

fn take_text(bytes: &[u8]) -> Result<(String, &[u8]), &'static str> {
    let end = bytes
        .iter()
        .position(|&byte| byte == END)
        .ok_or("a part does not end")?;
    let (part, rest) = bytes.split_at(end);
    let mut plain = Vec::with_capacity(part.len());
    let mut part = part.iter();
    while let Some(&byte) = part.next() {
        plain.push(match (byte, byte == ESCAPE) {
            (byte, false) => byte,
            (_, true) => match part.next() {
                Some(1) => 0,
                Some(2) => 1,
                _ => return Err("an escape is not 1 1 or 1 2"),
            },
        });
    }
    let text = String::from_utf8(plain).map_err(|_| "a part is not UTF-8")?;
    Ok((text, rest.get(1..).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn part() -> impl Strategy<Value = String> {
        prop_oneof![
            "[a-z0-9*./-]{0,12}",
            proptest::collection::vec(
                prop_oneof![Just('\0'), Just('\u{1}'), Just('\u{2}'), any::<char>()],
                0..6
            )
            .prop_map(|chars| chars.into_iter().collect()),
        ]
    }

    pub(in crate::store) fn any_key() -> impl Strategy<Value = Key> {
        prop_oneof![
            any::<u64>().prop_map(|seq| Key::Audit { seq }),
            (part(), part()).prop_map(|(tenant, certificate)| Key::Certificate {
                tenant,
                certificate
            }),
            (part(), part()).prop_map(|(tenant, module)| Key::Floor { tenant, module }),
            (part(), part()).prop_map(|(tenant, kid)| Key::PublisherKey { tenant, kid }),
            (part(), part()).prop_map(|(tenant, module)| Key::Module { tenant, module }),
            Just(Key::Node),
            (part(), part()).prop_map(|(host, path)| Key::Route { host, path }),
            part().prop_map(|tenant| Key::Tenant { tenant }),
            part().prop_map(|tenant| Key::Usage { tenant }),
            (part(), part()).prop_map(|(tenant, variable)| Key::Variable { tenant, variable }),
        ]
    }

    proptest! {
        #[test]
        fn a_key_comes_back_as_it_was(key in any_key()) {
            prop_assert_eq!(Key::decode(&key.encode()), Ok(key));
        }

        #[test]
        fn encoded_keys_sort_as_keys_do(a in any_key(), b in any_key()) {
            prop_assert_eq!(a.encode().cmp(&b.encode()), a.cmp(&b));
        }

        #[test]
        fn no_key_is_the_beginning_of_another(a in any_key(), b in any_key()) {
            prop_assume!(a != b);
            prop_assert!(!b.encode().starts_with(&a.encode()));
        }

        #[test]
        fn a_tenants_modules_lie_together(tenant in part(), other in part(), module in part()) {
            let prefix = text_key(MODULE, &[&tenant]);
            let key = Key::Module { tenant: other.clone(), module }.encode();
            prop_assert_eq!(key.starts_with(&prefix), other == tenant);
        }

        #[test]
        fn other_bytes_are_refused_or_encode_to_themselves(bytes in proptest::collection::vec(any::<u8>(), 0..24)) {
            if let Ok(key) = Key::decode(&bytes) {
                prop_assert_eq!(key.encode(), bytes);
            }
        }
    }

    #[test]
    fn a_refusal_names_bytes_and_reason() {
        let error = Key::decode(b"tacme").unwrap_err();
        assert_eq!(
            error.to_string(),
            "`tacme` is not a key of this store: a part does not end"
        );
    }
}
