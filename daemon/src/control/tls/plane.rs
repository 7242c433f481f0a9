//! Certificates as the API asks for them.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use control_api::error::PlaneError;
use control_api::plane::Caller;
use control_api::view::{
    self, CertificateWrite, Page, PageRequest, Precondition, Revised, Written,
};
use edge_config::{CertificateName, HostPattern, TenantName};
use zeroize::Zeroizing;

use super::super::change::{Plan, check, revised};
use super::super::edit::Edit;
use super::super::plane::{paged, room, tenant_in};
use super::super::state::{Certificate, State, Tenant};
use super::super::vault::Vault;
use super::super::{Control, blocking, internal};
use super::keyring::Keyring;
use super::read;
use crate::link::signing::{SignRequest, SigningKeyId};
use crate::store::CertificateRecord;

/// How often keys are looked for that may go.
const RETIRED_LOOKED_FOR_EVERY: Duration = Duration::from_secs(30);

/// A private key, in DER.
type Secret = Zeroizing<Vec<u8>>;

impl Control {
    pub(in crate::control) fn list_certificates(
        &self,
        tenant: &TenantName,
        page: &PageRequest,
    ) -> Result<Page<view::Certificate>, PlaneError> {
        let state = self.read();
        let found = tenant_in(&state, tenant)?;
        Ok(paged(found.certificates.iter(), page, |name, kept| {
            shown(name, &kept.value, found)
        }))
    }

    pub(in crate::control) fn show_certificate(
        &self,
        tenant: &TenantName,
        name: &CertificateName,
    ) -> Result<Revised<view::Certificate>, PlaneError> {
        let state = self.read();
        let found = tenant_in(&state, tenant)?;
        let kept = found
            .certificates
            .get(name)
            .ok_or_else(|| not_found(tenant, name))?;
        Ok(revised(kept.revision, shown(name, &kept.value, found)))
    }

    pub(in crate::control) async fn set_certificate(
        &self,
        tenant: &TenantName,
        name: &CertificateName,
        write: CertificateWrite,
        precondition: Precondition,
        caller: &Caller,
    ) -> Result<(Revised<view::Certificate>, Written), PlaneError> {
        tenant_in(&self.read(), tenant)?;
        // Reading and trying a key computes for some milliseconds.
        let (chain, facts, key, signing) = blocking(move || {
            let chain = read::chain(&write.chain)?;
            let facts = read::facts_of(&chain)?;
            let key = read::key(write.key.reveal())?;
            let signing = read::signing_key(&chain, &key)?;
            Ok::<_, PlaneError>((chain, facts, key, signing))
        })
        .await??;
        let now_s = self.now_s();
        valid_at(now_s, facts.not_before_s, facts.not_after_s)?;
        let schemes = read::schemes(signing.as_ref());
        let certificate = Certificate {
            schemes: schemes.into_iter().map(u16::from).collect(),
            chain: chain.into(),
            sealed_key: self.sealed(tenant, name, &key)?.into(),
            added_at_s: now_s,
            facts,
        };
        drop(key);
        // Before it is published: the first handshake may come with it. Where it is refused, it goes again.
        self.keyring.add(certificate.key_id(), signing);
        let (of, id) = (tenant.clone(), name.clone());
        let written = self
            .change(caller, move |state| {
                planned(state, of, id, certificate, precondition)
            })
            .await;
        self.retire_keys();
        let written = written?;
        Ok((self.show_certificate(tenant, name)?, written))
    }

    pub(in crate::control) async fn forget_certificate(
        &self,
        tenant: &TenantName,
        name: &CertificateName,
        precondition: Precondition,
        caller: &Caller,
    ) -> Result<(), PlaneError> {
        let (of, id) = (tenant.clone(), name.clone());
        self.change(caller, move |state| {
            let found = tenant_in(state, &of)?;
            let kept = found
                .certificates
                .get(&id)
                .ok_or_else(|| not_found(&of, &id))?;
            check(precondition, Some(kept.revision))?;
            let plan = Plan::new("certificate.delete", Some(&of), id.to_string());
            Ok(plan
                .before(Some(shown(&id, &kept.value, found)))
                .edit(Edit::DeleteCertificate {
                    tenant: of,
                    name: id,
                }))
        })
        .await?;
        self.retire_keys();
        Ok(())
    }

    /// Has the keys of certificates that are gone forgotten before long.
    pub(in crate::control) fn retire_keys(&self) {
        let state = self.read();
        let referenced: HashSet<_> = state
            .tenants
            .values()
            .flat_map(|tenant| tenant.certificates.values())
            .map(|kept| kept.value.key_id())
            .collect();
        drop(state);
        self.keyring
            .retire(|id| referenced.contains(id), Instant::now());
    }

    /// Signs for a handshake, or not, and counts it.
    pub(in crate::control) fn sign_handshake(&self, request: &SignRequest) -> Option<Vec<u8>> {
        let began = Instant::now();
        let signature = self.keyring.sign(request);
        self.metrics
            .signed(signature.is_some().then(|| began.elapsed()));
        signature
    }

    /// Has the metrics know of certificates.
    pub(in crate::control) fn observe_certificates(&self) {
        let now_s = i64::try_from(self.now_s()).unwrap_or(i64::MAX);
        let state = self.read();
        let mut count = 0;
        let mut left_s = BTreeMap::new();
        for (name, tenant) in &state.tenants {
            count += tenant.certificates.len() as u64;
            let ends = tenant.certificates.values();
            let first = ends.map(|kept| kept.value.facts.not_after_s).min();
            if let Some(first) = first {
                let first = i64::try_from(first).unwrap_or(i64::MAX);
                left_s.insert(name.to_string(), first.saturating_sub(now_s));
            }
        }
        drop(state);
        self.metrics.certificates(count, left_s);
    }

    /// Looks now and then for keys whose time is over. Ends when dropped.
    pub(in crate::control) async fn forget_retired_keys(self: Arc<Self>) {
        let mut looks = tokio::time::interval(RETIRED_LOOKED_FOR_EVERY);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            self.retire_keys();
        }
    }

    fn sealed(
        &self,
        tenant: &TenantName,
        name: &CertificateName,
        key: &Secret,
    ) -> Result<Vec<u8>, PlaneError> {
        let names = [tenant.as_str(), name.as_str()];
        let sealed = self.vault.seal(&names, key);
        sealed.map_err(|error| internal(&error))
    }
}

/// All rules of having a certificate, against the state as it is.
fn planned(
    state: &State,
    of: TenantName,
    name: CertificateName,
    certificate: Certificate,
    precondition: Precondition,
) -> Result<Plan, PlaneError> {
    let tenant = tenant_in(state, &of)?;
    let before = tenant.certificates.get(&name);
    check(precondition, before.map(|kept| kept.revision))?;
    // The chain says which key it has: one and the same chain has one and the same.
    if before.is_some_and(|before| before.value.is_the_same(&certificate)) {
        return Ok(Plan::nothing());
    }
    let allowed = &tenant.settings.value.hosts;
    for host in &certificate.facts.names {
        if !allowed.is_empty() && !allowed.iter().any(|pattern| pattern.covers(host)) {
            let allowed: Vec<_> = allowed.iter().map(HostPattern::as_str).collect();
            return Err(PlaneError::HostNotAllowed {
                host: host.clone(),
                allowed: allowed.join(", "),
            });
        }
        if state.host_conflict(&of, host) {
            return Err(PlaneError::HostTaken { host: host.clone() });
        }
    }
    room(
        "certificates_max",
        tenant.limits.certificates_max,
        tenant.certificates.len(),
        before.is_some(),
    )?;
    let plan = Plan::new("certificate.put", Some(&of), name.to_string()).written(before.is_some());
    Ok(plan
        .before(before.map(|before| shown(&name, &before.value, tenant)))
        .after(Some(shown(&name, &certificate, tenant)))
        .edit(Edit::PutCertificate {
            tenant: of,
            name,
            certificate: Box::new(certificate),
        }))
}

fn valid_at(now_s: u64, not_before_s: u64, not_after_s: u64) -> Result<(), PlaneError> {
    let why = if not_after_s <= now_s {
        format!("certificate 1 expired at {not_after_s}; now is {now_s} (seconds since 1970)")
    } else if not_before_s > now_s {
        format!(
            "certificate 1 is not valid before {not_before_s}; now is {now_s} (seconds since 1970)"
        )
    } else {
        return Ok(());
    };
    Err(PlaneError::CertificateUnusable {
        field: "chain",
        why,
    })
}

/// Takes a stored key into the keyring; gives the schemes that it signs by. None, and a line in the log, where it cannot
/// be read: the certificate is then kept and not served.
pub(in crate::control) fn unlock(
    record: &CertificateRecord,
    vault: &Vault,
    keyring: &Keyring,
) -> Vec<u16> {
    let (tenant, name) = (record.tenant.as_str(), record.certificate.as_str());
    let unusable = |error: &dyn std::error::Error| {
        let error = crate::logging::chain(error);
        tracing::error!(
            error,
            tenant,
            name,
            "a certificate cannot be served; put it again"
        );
        Vec::new()
    };
    let key = match vault.open(&[tenant, name], &record.sealed_key) {
        Ok(key) => key,
        Err(error) => return unusable(&error),
    };
    let signing = match read::signing_key(&record.chain, &key) {
        Ok(signing) => signing,
        Err(error) => return unusable(&error),
    };
    let facts = match read::facts_of(&record.chain) {
        Ok(facts) => facts,
        Err(error) => return unusable(&error),
    };
    let schemes = read::schemes(signing.as_ref());
    keyring.add(SigningKeyId(*facts.digest.as_bytes()), Arc::clone(&signing));
    schemes.into_iter().map(u16::from).collect()
}

fn not_found(tenant: &TenantName, name: &CertificateName) -> PlaneError {
    PlaneError::CertificateNotFound {
        tenant: tenant.clone(),
        certificate: name.clone(),
    }
}

fn shown(name: &CertificateName, certificate: &Certificate, tenant: &Tenant) -> view::Certificate {
    let facts = &certificate.facts;
    view::Certificate {
        name: name.clone(),
        names: facts.names.clone(),
        issuer: facts.issuer.clone(),
        serial: facts.serial.clone(),
        not_before: facts.not_before_s,
        not_after: facts.not_after_s,
        digest: facts.digest,
        key_algorithm: read::algorithm(&certificate.schemes).to_owned(),
        chain_length: u32::try_from(certificate.chain.len()).unwrap_or(u32::MAX),
        routes: tenant
            .routes
            .keys()
            .filter(|id| certificate.is_for(id.host()))
            .cloned()
            .collect(),
        added_at: certificate.added_at_s,
    }
}
