//! Calls about certificates.

use edge_config::{CertificateName, TenantName};

use super::{Client, ClientError, Put};
use crate::view::{Certificate, CertificateWrite, Page, PageRequest, Precondition, Revised};

impl Client {
    /// A tenant's certificates in order of name.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn certificates(
        &self,
        tenant: &TenantName,
        page: &PageRequest,
    ) -> Result<Page<Certificate>, ClientError> {
        self.get_page(&["v1", "tenants", tenant.as_ref(), "certificates"], page)
            .await
    }

    /// One certificate.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn certificate(
        &self,
        tenant: &TenantName,
        certificate: &CertificateName,
    ) -> Result<Revised<Certificate>, ClientError> {
        self.get_revised(&path(tenant, certificate)).await
    }

    /// Has a chain served with its private key, in the place of the one of that name.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn put_certificate(
        &self,
        tenant: &TenantName,
        certificate: &CertificateName,
        write: &CertificateWrite,
        precondition: Precondition,
    ) -> Result<Put<Certificate>, ClientError> {
        self.put_json(&path(tenant, certificate), write, precondition)
            .await
    }

    /// Has a certificate and its key forgotten.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn delete_certificate(
        &self,
        tenant: &TenantName,
        certificate: &CertificateName,
        precondition: Precondition,
    ) -> Result<(), ClientError> {
        self.delete(&path(tenant, certificate), precondition).await
    }
}

fn path<'a>(tenant: &'a TenantName, certificate: &'a CertificateName) -> [&'a str; 5] {
    [
        "v1",
        "tenants",
        tenant.as_ref(),
        "certificates",
        certificate.as_str(),
    ]
}
