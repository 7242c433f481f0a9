//! Certificates, as far as the API is concerned: what is in a chain is the node's to read.

use control_api::error::PlaneError;
use control_api::plane::Caller;
use control_api::view::*;
use edge_config::{CertificateName, Digest, TenantName};

use super::state::{Result, State, holds, page, room};

impl State {
    pub(super) fn certificates(
        &self,
        tenant: &TenantName,
        request: &PageRequest,
    ) -> Result<Page<Certificate>> {
        let kept = self.owner(tenant)?.certificates.iter();
        Ok(page(
            kept.map(|(name, kept)| (name, kept.value.clone())),
            request,
        ))
    }

    pub(super) fn certificate(
        &self,
        tenant: &TenantName,
        name: &CertificateName,
    ) -> Result<Revised<Certificate>> {
        let found = self.owner(tenant)?.certificates.get(name).cloned();
        found.ok_or_else(|| PlaneError::CertificateNotFound {
            tenant: tenant.clone(),
            certificate: name.clone(),
        })
    }

    pub(super) fn put_certificate(
        &mut self,
        tenant: &TenantName,
        name: &CertificateName,
        write: &CertificateWrite,
        precondition: Precondition,
        caller: Caller,
    ) -> Result<(Revised<Certificate>, Written)> {
        let owner = self.owner(tenant)?;
        let there = owner.certificates.get(name);
        holds(precondition, there.map(|kept| kept.revision))?;
        if !write.chain.contains("-----BEGIN CERTIFICATE-----") {
            return Err(PlaneError::CertificateUnusable {
                field: "chain",
                why: "it has no certificate in PEM".to_owned(),
            });
        }
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, write.chain.as_bytes());
        let digest = Digest::from_bytes(hash.as_ref().try_into().unwrap());
        let written = if let Some(there) = there {
            if there.value.digest == digest {
                return Ok((there.clone(), Written::Unchanged));
            }
            Written::Updated
        } else {
            let most = owner.limits()?.certificates_max;
            room("certificates_max", most, owner.certificates.len())?;
            Written::Created
        };
        let certificate = Certificate {
            name: name.clone(),
            names: vec!["hello.localhost".parse().unwrap()],
            issuer: "CN=somebody".to_owned(),
            serial: "01".to_owned(),
            not_before: self.now,
            not_after: self.now + 1,
            digest,
            key_algorithm: "ecdsa-p256".to_owned(),
            chain_length: 1,
            routes: Vec::new(),
            added_at: self.now,
        };
        let revised = Revised {
            revision: self.record(caller, "certificate.put", tenant, name.to_string()),
            value: certificate,
        };
        let kept = &mut self.owner_mut(tenant)?.certificates;
        kept.insert(name.clone(), revised.clone());
        Ok((revised, written))
    }

    pub(super) fn delete_certificate(
        &mut self,
        tenant: &TenantName,
        name: &CertificateName,
        precondition: Precondition,
        caller: Caller,
    ) -> Result<()> {
        holds(precondition, Some(self.certificate(tenant, name)?.revision))?;
        self.owner_mut(tenant)?.certificates.remove(name);
        self.record(caller, "certificate.delete", tenant, name.to_string());
        Ok(())
    }
}
