//! The OpenAPI document: what the handlers say of themselves, and what is common to all of them.

use std::collections::BTreeMap;

use utoipa::IntoResponses;
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder};

use crate::problem::MEDIA_TYPE;

#[cfg(test)]
#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Littoral node",
        description = "The admin API of one Littoral node. Every answer carries `x-request-id`; every refusal is an RFC 9457 problem (see PROBLEMS.md). Entity tags are quoted revisions. Scopes beside an operation: any one of them is enough.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    components(schemas(crate::error::Problem)),
    tags(
        (name = "node", description = "The node itself"),
        (name = "tenants", description = "Owners, and the isolation boundary"),
        (name = "keys", description = "Publishers whose signatures a tenant trusts"),
        (name = "certificates", description = "What hostnames are served with over TLS"),
        (name = "modules", description = "Uploads, and what became of them"),
        (name = "variables", description = "Configuration and secrets that guests read"),
        (name = "stores", description = "What guests keep, seen and changed from outside"),
        (name = "databases", description = "What guests keep in SQL databases, seen and changed from outside"),
        (name = "routes", description = "Hostname and path prefix to module")
    )
)]
struct Base;

/// What every operation shares: title, schemes, the problem's shape.
#[cfg(test)]
pub(super) fn base() -> utoipa::openapi::OpenApi {
    use utoipa::OpenApi as _;
    use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};

    let mut document = Base::openapi();
    let components = document.components.get_or_insert_default();
    components.add_security_scheme(
        "bearer",
        SecurityScheme::Http(
            HttpBuilder::new()
                .scheme(HttpAuthScheme::Bearer)
                .bearer_format("JWT")
                .description(Some(
                    "A JWT for this node (`aud`), signed by a key it trusts; `scope` says what it allows, `tenant` for whom.",
                ))
                .build(),
        ),
    );
    components.add_security_scheme(
        "metrics_token",
        SecurityScheme::Http(
            HttpBuilder::new()
                .scheme(HttpAuthScheme::Bearer)
                .description(Some(
                    "A fixed token, only where the node's configuration sets one.",
                ))
                .build(),
        ),
    );
    document
}

/// The whole document, as it is served: `openapi.json` without its white space.
///
/// It is kept as text. Made from the handlers at run time, it would be half a megabyte of code for one answer.
#[must_use]
pub fn openapi_json() -> &'static str {
    include_str!(concat!(env!("OUT_DIR"), "/openapi.json"))
}

macro_rules! problem_sets {
    ($($(#[doc = $doc:literal])+ $name:ident: $($status:literal $what:literal)+;)+) => {$(
        $(#[doc = $doc])+
        pub(super) struct $name;

        impl IntoResponses for $name {
            fn responses() -> BTreeMap<String, RefOr<Response>> {
                BTreeMap::from([$(($status.to_owned(), problem($what)),)+])
            }
        }
    )+};
}

problem_sets! {
    /// Reading something of the node.
    ReadProblems:
        "400" "A query or header is not understood"
        "401" "No token, or one that is not accepted"
        "403" "The token's scope is not enough"
        "500" "The node met a fault of its own"
        "503" "The node's store is away";
    /// Reading something of a tenant.
    TenantReadProblems:
        "400" "A name in the path, a query or a header is not understood"
        "401" "No token, or one that is not accepted"
        "403" "The token's scope is not enough"
        "404" "No such tenant or resource, or none the token may see"
        "412" "`If-Match` names another revision"
        "500" "The node met a fault of its own"
        "503" "The node's store is away";
    /// Following a tenant's log.
    FollowProblems:
        "400" "A name in the path, a query or a header is not understood"
        "401" "No token, or one that is not accepted"
        "403" "The token's scope is not enough"
        "404" "No such tenant, or none the token may see"
        "500" "The node met a fault of its own"
        "503" "Too many log streams are open";
    /// A change without a body.
    DeleteProblems:
        "400" "A name in the path, a query or a header is not understood"
        "401" "No token, or one that is not accepted"
        "403" "The token's scope is not enough"
        "404" "No such tenant or resource, or none the token may see"
        "409" "The resource is in use, or has too much for one change"
        "412" "`If-Match` names another revision"
        "500" "The node met a fault of its own"
        "503" "The node is draining, or cannot make changes durable"
        "507" "The node's disk is too full, or it keeps no more state";
    /// A change with a JSON body.
    PutProblems:
        "400" "A name in the path, a query, a header or the JSON is not understood"
        "401" "No token, or one that is not accepted"
        "403" "The token's scope is not enough, or the tenant may not route this hostname"
        "404" "No such tenant or resource, or none the token may see"
        "408" "The body did not arrive in time"
        "409" "A limit is reached, or the hostname is held by another tenant"
        "412" "`If-Match` or `If-None-Match` does not hold"
        "413" "The JSON body is too large"
        "415" "The body is not `application/json`"
        "422" "A member is unknown, missing, of the wrong type, or has a value that is not allowed"
        "500" "The node met a fault of its own"
        "503" "The node is draining, or cannot make changes durable"
        "507" "The node's disk is too full, or it keeps no more state";
    /// A change to the node itself.
    NodeChangeProblems:
        "400" "A query or header is not understood"
        "401" "No token, or one that is not accepted"
        "403" "The token's scope is not enough"
        "409" "The new process does not come up, or the one before still drains"
        "422" "The configuration is refused, or changes what a running node cannot change"
        "500" "The node met a fault of its own"
        "503" "The node is draining, or hands over already";
    /// An upload.
    UploadProblems:
        "400" "A name in the path, a query or a header is not understood, the statement is missing or malformed, or the body broke off"
        "401" "No token, or one that is not accepted"
        "403" "The token's scope is not enough, or the statement is not one that this tenant trusts now, here"
        "404" "No such tenant, or none the token may see"
        "408" "The bytes did not arrive in time"
        "409" "The version is not above the highest accepted, a limit is reached, or the tenant is suspended"
        "412" "`If-Match` or `If-None-Match` does not hold"
        "413" "The component is too large"
        "415" "The body is not `application/wasm` or `application/octet-stream`"
        "422" "The bytes are not what was signed, or not a component that this node serves"
        "500" "The node met a fault of its own"
        "503" "Too many uploads at once, the node is draining, or it cannot make changes durable"
        "507" "The node's disk is too full, or it keeps no more state";
    /// A backup.
    BackupProblems:
        "400" "A query or the JSON is not understood"
        "401" "No token, or one that is not accepted"
        "403" "The token's scope is not enough"
        "408" "The body did not arrive in time"
        "413" "The JSON body is too large"
        "415" "The body is not `application/json`"
        "422" "A member is unknown or of the wrong type, or the passphrase has a length that is not allowed"
        "500" "The node met a fault of its own"
        "503" "A backup is under way, the node is draining, or its store is away";
    /// Readiness.
    ReadyProblems:
        "503" "The node is not ready";
    /// Metrics.
    MetricsProblems:
        "401" "A metrics token is configured and was not sent"
        "500" "The node met a fault of its own";
}

fn problem(what: &str) -> RefOr<Response> {
    ResponseBuilder::new()
        .description(what)
        .content(
            MEDIA_TYPE,
            ContentBuilder::new()
                .schema(Some(Ref::from_schema_name("Problem")))
                .build(),
        )
        .build()
        .into()
}

#[cfg(test)]
mod tests {
    #[test]
    fn openapi_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");
        let mut current = super::super::document().to_pretty_json().unwrap();
        current.push('\n');
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(path, &current).unwrap();
        }
        assert!(
            std::fs::read_to_string(path).unwrap() == current,
            "openapi.json differs from the handlers: run with UPDATE=1"
        );
    }
}
