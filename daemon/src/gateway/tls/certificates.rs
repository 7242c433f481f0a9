//! Which certificate a server name gets: the exact name before a wildcard, and of several for one name that whose
//! signatures the client understands and that lasts longest.
//!
//! A wildcard stands for one label (RFC 9525 §6.3), other than in routes, where it stands for any number. Part of the
//! routing table: swapped whole with it, and cheap to copy.

use std::sync::Arc;

use rustls::{ServerConfig, SignatureScheme};

use super::super::hosts::Hosts;
use super::remote_key::RemoteKey;
use super::settings::TlsSettings;
use crate::link::CertificateTarget;

/// A certificate as it is served.
pub(in crate::gateway) struct Served {
    tenant: Box<str>,
    name: Box<str>,
    names: Vec<Box<str>>,
    schemes: Vec<SignatureScheme>,
    not_after_s: u64,
    pub(super) config: Arc<ServerConfig>,
}

impl Served {
    /// `None`, and a line in the log, for one that cannot be served: control has checked it.
    pub(in crate::gateway) fn new(
        tenant: &str,
        name: &str,
        target: CertificateTarget,
        settings: &TlsSettings,
    ) -> Option<Self> {
        let schemes: Vec<_> = target.schemes.into_iter().map(Into::into).collect();
        let key = RemoteKey::new(target.key, schemes.clone())?;
        let config = settings
            .config(target.chain, Arc::new(key))
            .inspect_err(|error| {
                let error = crate::logging::chain(error);
                tracing::error!(error, tenant, name, "a certificate cannot be served");
            });
        Some(Self {
            tenant: tenant.into(),
            name: name.into(),
            names: target.names.into_iter().map(Into::into).collect(),
            schemes,
            not_after_s: target.not_after_s,
            config: config.ok()?,
        })
    }

    /// Whose it is.
    pub(in crate::gateway) fn tenant(&self) -> &str {
        &self.tenant
    }

    /// Whether it is for this hostname.
    pub(in crate::gateway) fn covers(&self, host: &str) -> bool {
        let above = host.split_once('.').map(|(_, above)| above);
        self.names.iter().any(|name| match name.strip_prefix("*.") {
            Some(suffix) => above == Some(suffix),
            None => **name == *host,
        })
    }
}

/// All certificates at one revision, by name.
#[derive(Default, Clone)]
pub(in crate::gateway) struct Certificates {
    exact: Hosts<Candidates>,
    /// By suffix: `acme.test` for `*.acme.test`.
    wildcard: Hosts<Candidates>,
}

/// Certificates for one name, those that last longest first. At most as many as all tenants may have.
#[derive(Default, Clone)]
struct Candidates(Vec<Arc<Served>>);

impl Certificates {
    /// The certificate for a server name. `owner` is who routes it: others' certificates are not served for it.
    pub(in crate::gateway) fn find(
        &self,
        name: &str,
        owner: Option<&str>,
        schemes: &[SignatureScheme],
    ) -> Option<&Arc<Served>> {
        let exact = self.exact.get(name);
        let above = name.split_once('.').map(|(_, above)| above);
        let wildcard = above.and_then(|above| self.wildcard.get(above));
        [exact, wildcard]
            .into_iter()
            .flatten()
            .find_map(|candidates| candidates.choose(owner, schemes))
    }

    /// Adds a certificate under its names.
    pub(in crate::gateway) fn add(&mut self, served: &Arc<Served>) {
        for name in &served.names {
            let (hosts, host) = self.hosts(name);
            if let Some(candidates) = hosts.entry(host) {
                candidates.0.push(Arc::clone(served));
                candidates.0.sort_by(|a, b| {
                    b.not_after_s
                        .cmp(&a.not_after_s)
                        .then_with(|| (&a.tenant, &a.name).cmp(&(&b.tenant, &b.name)))
                });
            }
        }
    }

    /// Takes it away again.
    pub(in crate::gateway) fn remove(&mut self, served: &Arc<Served>) {
        for name in &served.names {
            let (hosts, host) = self.hosts(name);
            if hosts.get(host).is_none() {
                continue;
            }
            let Some(candidates) = hosts.entry(host) else {
                continue;
            };
            candidates.0.retain(|one| !Arc::ptr_eq(one, served));
            if candidates.0.is_empty() {
                hosts.remove(host);
            }
        }
    }

    fn hosts<'a>(&mut self, name: &'a str) -> (&mut Hosts<Candidates>, &'a str) {
        match name.strip_prefix("*.") {
            Some(suffix) => (&mut self.wildcard, suffix),
            None => (&mut self.exact, name),
        }
    }
}

impl Candidates {
    fn choose(&self, owner: Option<&str>, schemes: &[SignatureScheme]) -> Option<&Arc<Served>> {
        let may_be = |one: &&Arc<Served>| owner.is_none_or(|owner| *one.tenant == *owner);
        let understood =
            |one: &&Arc<Served>| one.schemes.iter().any(|scheme| schemes.contains(scheme));
        // One that the client does not understand ends in the alert that says so.
        let understood = self.0.iter().filter(may_be).find(understood);
        understood.or_else(|| self.0.iter().find(may_be))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::signing::SigningKeyId;

    const ECDSA: SignatureScheme = SignatureScheme::ECDSA_NISTP256_SHA256;
    const RSA: SignatureScheme = SignatureScheme::RSA_PSS_SHA256;

    fn served(
        tenant: &str,
        names: &[&str],
        scheme: SignatureScheme,
        not_after_s: u64,
    ) -> Arc<Served> {
        let target = CertificateTarget {
            names: names.iter().map(ToString::to_string).collect(),
            chain: vec![vec![0x30, 0]],
            key: SigningKeyId([0; 32]),
            schemes: vec![scheme.into()],
            not_after_s,
        };
        let settings = TlsSettings::new(true, true).unwrap();
        Arc::new(Served::new(tenant, "one", target, &settings).unwrap())
    }

    fn is(found: Option<&Arc<Served>>, expected: &Arc<Served>) -> bool {
        found.is_some_and(|found| Arc::ptr_eq(found, expected))
    }

    #[test]
    fn the_exact_name_comes_before_the_wildcard_which_stands_for_one_label() {
        let mut certificates = Certificates::default();
        let exact = served("acme", &["www.acme.test"], ECDSA, 1);
        let wild = served("acme", &["*.acme.test", "acme.test"], ECDSA, 9);
        certificates.add(&exact);
        certificates.add(&wild);
        let find = |name| certificates.find(name, None, &[ECDSA]);
        assert!(is(find("www.acme.test"), &exact));
        assert!(is(find("shop.acme.test"), &wild));
        assert!(is(find("acme.test"), &wild));
        assert!(find("a.shop.acme.test").is_none());
        assert!(find("test").is_none());
        assert!(wild.covers("shop.acme.test") && wild.covers("acme.test"));
        assert!(!wild.covers("a.shop.acme.test") && !exact.covers("acme.test"));
        certificates.remove(&exact);
        assert!(is(
            certificates.find("www.acme.test", None, &[ECDSA]),
            &wild
        ));
        certificates.remove(&wild);
        assert!(certificates.find("acme.test", None, &[ECDSA]).is_none());
    }

    #[test]
    fn a_hostname_of_one_tenant_gets_no_certificate_of_another() {
        let mut certificates = Certificates::default();
        let theirs = served("other", &["acme.test"], ECDSA, 9);
        certificates.add(&theirs);
        assert!(
            certificates
                .find("acme.test", Some("acme"), &[ECDSA])
                .is_none()
        );
        let ours = served("acme", &["acme.test"], ECDSA, 1);
        certificates.add(&ours);
        assert!(is(
            certificates.find("acme.test", Some("acme"), &[ECDSA]),
            &ours
        ));
    }

    #[test]
    fn of_two_for_a_name_the_one_that_is_understood_and_lasts_longer_is_served() {
        let mut certificates = Certificates::default();
        let (short, long) = (
            served("acme", &["acme.test"], ECDSA, 1),
            served("acme", &["acme.test"], ECDSA, 5),
        );
        let rsa = served("acme", &["acme.test"], RSA, 9);
        for one in [&short, &rsa, &long] {
            certificates.add(one);
        }
        let find = |schemes: &[SignatureScheme]| certificates.find("acme.test", None, schemes);
        assert!(is(find(&[ECDSA]), &long));
        assert!(is(find(&[RSA]), &rsa));
        assert!(is(find(&[ECDSA, RSA]), &rsa));
        assert!(is(find(&[SignatureScheme::ED25519]), &rsa));
    }
}
