//! Edits: the one form in which control state changes, towards the store and in memory.

use edge_config::{CertificateName, KeyId, ModuleName, RouteId, TenantName, VariableId};

use super::grants;
use super::state::{
    Affected, Certificate, Module, PublisherKey, RouteTarget, State, TenantSettings,
};
use super::variables::{self, Variable};
use crate::store::{
    CertificateRecord, FloorRecord, Key, ModuleRecord, PublisherKeyRecord, Record, ReuseRecord,
    RouteRecord, TenantRecord, Transaction, VersionRecord,
};

/// One edit. Several make a change, which is durable as a whole or not at all.
#[derive(Debug, Clone)]
pub(super) enum Edit {
    PutTenant {
        tenant: TenantName,
        /// Boxed: much larger than what other edits carry.
        settings: Box<TenantSettings>,
    },
    /// With its keys, modules, routes, certificates and variables.
    DeleteTenant {
        tenant: TenantName,
    },
    PutKey {
        tenant: TenantName,
        kid: KeyId,
        key: PublisherKey,
    },
    DeleteKey {
        tenant: TenantName,
        kid: KeyId,
    },
    PutModule {
        tenant: TenantName,
        name: ModuleName,
        module: Module,
    },
    /// With its variables.
    DeleteModule {
        tenant: TenantName,
        name: ModuleName,
    },
    /// The highest version of a module that is going away.
    PutFloor {
        tenant: TenantName,
        module: ModuleName,
        highest_version: u64,
    },
    /// The module is back, and carries its highest version itself.
    DeleteFloor {
        tenant: TenantName,
        module: ModuleName,
    },
    PutRoute {
        tenant: TenantName,
        id: RouteId,
        target: RouteTarget,
    },
    DeleteRoute {
        tenant: TenantName,
        id: RouteId,
    },
    PutCertificate {
        tenant: TenantName,
        name: CertificateName,
        /// Boxed: much larger than what other edits carry.
        certificate: Box<Certificate>,
    },
    DeleteCertificate {
        tenant: TenantName,
        name: CertificateName,
    },
    PutVariable {
        tenant: TenantName,
        id: VariableId,
        variable: Variable,
    },
    DeleteVariable {
        tenant: TenantName,
        id: VariableId,
    },
}

/// The records that make edits durable, on top of `state`.
pub(super) fn transaction(state: &State, edits: &[Edit]) -> Transaction {
    let mut transaction = Transaction::default();
    for edit in edits {
        match edit {
            Edit::PutTenant { tenant, settings } => {
                transaction
                    .puts
                    .push(Record::Tenant(tenant_record(tenant, settings)));
            }
            Edit::DeleteTenant { tenant } => delete_tenant(state, tenant, &mut transaction.deletes),
            Edit::PutKey { tenant, kid, key } => {
                transaction
                    .puts
                    .push(Record::PublisherKey(PublisherKeyRecord {
                        tenant: tenant.to_string(),
                        kid: kid.to_string(),
                        public_key: key.public_key.to_vec(),
                        added_at_s: key.added_at_s,
                    }));
            }
            Edit::DeleteKey { tenant, kid } => {
                transaction.deletes.push(Key::PublisherKey {
                    tenant: tenant.to_string(),
                    kid: kid.to_string(),
                });
            }
            Edit::PutModule {
                tenant,
                name,
                module,
            } => {
                transaction
                    .puts
                    .push(Record::Module(module_record(tenant, name, module)));
            }
            Edit::DeleteModule { tenant, name } => {
                transaction.deletes.push(module_key(tenant, name));
                let kept = state.tenants.get(tenant);
                let own = kept.into_iter().flat_map(|kept| kept.variables_of(name));
                let own = own.map(|id| variable_key(tenant, id));
                transaction.deletes.extend(own);
            }
            Edit::PutFloor {
                tenant,
                module,
                highest_version,
            } => {
                transaction.puts.push(Record::Floor(FloorRecord {
                    tenant: tenant.to_string(),
                    module: module.to_string(),
                    highest_version: *highest_version,
                }));
            }
            Edit::DeleteFloor { tenant, module } => {
                transaction.deletes.push(Key::Floor {
                    tenant: tenant.to_string(),
                    module: module.to_string(),
                });
            }
            Edit::PutRoute { tenant, id, target } => {
                transaction.puts.push(Record::Route(RouteRecord {
                    host: id.host().as_str().to_owned(),
                    path: id.path().as_str().to_owned(),
                    tenant: tenant.to_string(),
                    module: target.module.to_string(),
                    version: target.version,
                }));
            }
            Edit::DeleteRoute { id, .. } => transaction.deletes.push(route_key(id)),
            Edit::PutCertificate {
                tenant,
                name,
                certificate,
            } => {
                transaction
                    .puts
                    .push(Record::Certificate(CertificateRecord {
                        tenant: tenant.to_string(),
                        certificate: name.to_string(),
                        chain: certificate.chain.to_vec(),
                        sealed_key: certificate.sealed_key.to_vec(),
                        added_at_s: certificate.added_at_s,
                    }));
            }
            Edit::DeleteCertificate { tenant, name } => {
                transaction.deletes.push(certificate_key(tenant, name));
            }
            Edit::PutVariable {
                tenant,
                id,
                variable,
            } => {
                let record = variables::record(tenant, id, variable);
                transaction.puts.push(Record::Variable(record));
            }
            Edit::DeleteVariable { tenant, id } => {
                transaction.deletes.push(variable_key(tenant, id));
            }
        }
    }
    transaction
}

/// What of the routing table edits may change.
pub(super) fn affected(state: &State, edits: &[Edit]) -> Vec<Affected> {
    let mut affected = Vec::new();
    for edit in edits {
        match edit {
            Edit::PutTenant { tenant, .. } => affected.push(Affected::Tenant(tenant.clone())),
            Edit::DeleteTenant { tenant } => {
                let routes = state
                    .tenants
                    .get(tenant)
                    .into_iter()
                    .flat_map(|tenant| tenant.routes.keys());
                affected.extend(routes.map(|id| Affected::Route(tenant.clone(), id.clone())));
                let certificates = state
                    .tenants
                    .get(tenant)
                    .into_iter()
                    .flat_map(|tenant| tenant.certificates.keys());
                affected.extend(
                    certificates.map(|name| Affected::Certificate(tenant.clone(), name.clone())),
                );
                affected.push(Affected::Tenant(tenant.clone()));
            }
            Edit::PutModule { tenant, name, .. } => {
                affected.push(Affected::Module(tenant.clone(), name.clone()));
            }
            Edit::PutRoute { tenant, id, .. } | Edit::DeleteRoute { tenant, id } => {
                affected.push(Affected::Route(tenant.clone(), id.clone()));
            }
            Edit::PutCertificate { tenant, name, .. }
            | Edit::DeleteCertificate { tenant, name } => {
                affected.push(Affected::Certificate(tenant.clone(), name.clone()));
            }
            // Nothing is routed by keys, floors and variables, and no route serves a module that goes.
            Edit::PutKey { .. }
            | Edit::DeleteKey { .. }
            | Edit::DeleteModule { .. }
            | Edit::PutFloor { .. }
            | Edit::DeleteFloor { .. }
            | Edit::PutVariable { .. }
            | Edit::DeleteVariable { .. } => {}
        }
    }
    affected
}

fn delete_tenant(state: &State, tenant: &TenantName, deletes: &mut Vec<Key>) {
    let name = tenant.to_string();
    let of = tenant;
    if let Some(kept) = state.tenants.get(tenant) {
        let variables = kept.variables.keys();
        deletes.extend(variables.map(|id| variable_key(tenant, id)));
    }
    if let Some(tenant) = state.tenants.get(tenant) {
        deletes.extend(tenant.keys.keys().map(|kid| Key::PublisherKey {
            tenant: name.clone(),
            kid: kid.to_string(),
        }));
        deletes.extend(tenant.modules.keys().map(|module| Key::Module {
            tenant: name.clone(),
            module: module.to_string(),
        }));
        deletes.extend(tenant.routes.keys().map(route_key));
        let certificates = tenant.certificates.keys();
        deletes.extend(certificates.map(|certificate| certificate_key(of, certificate)));
    }
    deletes.push(Key::Usage {
        tenant: name.clone(),
    });
    deletes.push(Key::Tenant { tenant: name });
}

fn module_key(tenant: &TenantName, module: &ModuleName) -> Key {
    Key::Module {
        tenant: tenant.to_string(),
        module: module.to_string(),
    }
}

fn certificate_key(tenant: &TenantName, name: &CertificateName) -> Key {
    Key::Certificate {
        tenant: tenant.to_string(),
        certificate: name.to_string(),
    }
}

fn variable_key(tenant: &TenantName, id: &VariableId) -> Key {
    Key::Variable {
        tenant: tenant.to_string(),
        variable: id.to_string(),
    }
}

fn route_key(id: &RouteId) -> Key {
    Key::Route {
        host: id.host().as_str().to_owned(),
        path: id.path().as_str().to_owned(),
    }
}

fn tenant_record(tenant: &TenantName, settings: &TenantSettings) -> TenantRecord {
    TenantRecord {
        tenant: tenant.to_string(),
        created_at_s: settings.created_at_s,
        limits: settings
            .overrides
            .rows()
            .map(|(row, value)| (row.name.to_owned(), value))
            .collect(),
        hosts: settings
            .hosts
            .iter()
            .map(|host| host.as_str().to_owned())
            .collect(),
        suspended: settings.suspended,
    }
}

fn module_record(tenant: &TenantName, name: &ModuleName, module: &Module) -> ModuleRecord {
    let versions = module.versions.iter().map(|version| VersionRecord {
        version: version.version,
        digest: version.digest.to_string(),
        component_bytes: version.component_bytes,
        kid: version.kid.to_string(),
        accepted_at_s: version.accepted_at_s,
        statement: version.statement.to_string(),
        world: version.world.name().to_owned(),
        inspection: version.details.to_vec(),
    });
    ModuleRecord {
        tenant: tenant.to_string(),
        module: name.to_string(),
        active_version: module.active_version,
        highest_version: module.highest_version,
        versions: versions.collect(),
        reuse: module.reuse.map(|reuse| ReuseRecord {
            requests_max: reuse.requests_max,
            idle_ms_max: reuse.idle_ms_max,
            concurrency_max: reuse.concurrency_max,
            memory_bytes_max: reuse.memory_bytes_max,
        }),
        grants: module.grants.as_deref().map(grants::record),
    }
}
