//! The one table of problem kinds: what a client may build on.
//!
//! Takes nothing; promises that a slug, once published, keeps its meaning. `PROBLEMS.md` is written from this table.

use http::StatusCode;

/// The front of every problem's `type`.
pub const TYPE_BASE: &str = "https://littoral.dev/problems/";

macro_rules! kinds {
    ($($kind:ident $status:ident $slug:literal $title:literal $about:literal;)+) => {
        /// What kind of problem an answer is; each has one slug, one title, one status.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Kind {
            $(#[doc = $about] $kind,)+
        }

        impl Kind {
            /// Every kind, in the order of `PROBLEMS.md`.
            pub const ALL: &'static [Kind] = &[$(Kind::$kind,)+];

            /// The last part of the problem's `type`.
            pub fn slug(self) -> &'static str {
                match self { $(Kind::$kind => $slug,)+ }
            }

            /// The kind in a few words; the same for every problem of this kind.
            pub fn title(self) -> &'static str {
                match self { $(Kind::$kind => $title,)+ }
            }

            /// The HTTP status that the problem is answered with.
            pub fn status(self) -> StatusCode {
                match self { $(Kind::$kind => StatusCode::$status,)+ }
            }

            /// What it means and what to do about it.
            pub fn about(self) -> &'static str {
                match self { $(Kind::$kind => $about,)+ }
            }
        }
    };
}

kinds! {
    TokenMissing UNAUTHORIZED "token-missing" "A token is needed"
        "No `Authorization: Bearer` header. Send a token that this node's operator issued.";
    TokenInvalid UNAUTHORIZED "token-invalid" "The token is not accepted"
        "The bearer token is malformed, not signed by a trusted key, for another audience, expired, not yet valid, or valid for too long. `detail` says which.";
    ScopeInsufficient FORBIDDEN "scope-insufficient" "The token's scope does not allow this"
        "The token is good, but has none of the scopes in the member `scopes`, or lacks the `tenant` claim that its scopes need.";

    PathUnknown NOT_FOUND "path-unknown" "No such path"
        "The path is not part of the API; see `/v1/openapi.json`.";
    MethodNotAllowed METHOD_NOT_ALLOWED "method-not-allowed" "The method is not allowed here"
        "The path is there, the method is not; the header `Allow` lists those that are.";
    PathInvalid BAD_REQUEST "path-invalid" "A name in the path is not well formed"
        "A tenant, module, route, key, variable or version in the path breaks the rules for such names; `detail` says which rule.";
    QueryInvalid BAD_REQUEST "query-invalid" "The query is not understood"
        "A query parameter is unknown, or its value is not allowed.";
    HeaderInvalid BAD_REQUEST "header-invalid" "A header is not understood"
        "A header that this operation reads has a value it cannot use, or two headers contradict one another.";
    JsonSyntax BAD_REQUEST "json-syntax" "The body is not JSON"
        "The body cannot be parsed as JSON; `detail` names line and column.";
    JsonShape UNPROCESSABLE_ENTITY "json-shape" "The JSON has another shape than expected"
        "A member is unknown, missing, or of the wrong type; `detail` names it.";
    ContentTypeUnsupported UNSUPPORTED_MEDIA_TYPE "content-type-unsupported" "The content type is not supported"
        "JSON bodies need `application/json`; uploads `application/wasm`, `application/octet-stream` or none, without a content encoding.";
    JsonTooLarge PAYLOAD_TOO_LARGE "json-too-large" "The JSON body is too large"
        "JSON bodies are bounded by the node's configuration (`admin.body_json_kib_max`).";
    RequestTooSlow REQUEST_TIMEOUT "request-too-slow" "The body did not arrive in time"
        "The body of a change or of an upload took longer than the node waits.";
    BodyBrokenOff BAD_REQUEST "body-broken-off" "The body ended too early"
        "The connection broke, or the body was shorter than announced. Repeating the request is harmless.";

    TenantNotFound NOT_FOUND "tenant-not-found" "No such tenant"
        "There is no such tenant, or it is not one the token may see; the two are answered alike.";
    ModuleNotFound NOT_FOUND "module-not-found" "No such module"
        "The tenant has no module of this name.";
    VersionNotFound NOT_FOUND "version-not-found" "No such version"
        "The version was never accepted or is no longer kept; `detail` lists those that are.";
    RouteNotFound NOT_FOUND "route-not-found" "No such route"
        "The tenant has no such route.";
    KeyNotFound NOT_FOUND "key-not-found" "No such publisher key"
        "The tenant trusts no key of this id.";
    VariableNotFound NOT_FOUND "variable-not-found" "No such variable"
        "The tenant has no variable of this id.";
    StoreKeyNotFound NOT_FOUND "store-key-not-found" "No such key in the store"
        "The tenant's key-value store of this name has no such key, or there is no such store.";
    DatabaseNotFound NOT_FOUND "database-not-found" "No such database"
        "The tenant has no SQL database of this name.";
    CertificateNotFound NOT_FOUND "certificate-not-found" "No such certificate"
        "The tenant has no certificate of this name.";
    JobNotFound NOT_FOUND "job-not-found" "No such job"
        "There is no such job; finished ones are kept for a while only.";

    RevisionMismatch PRECONDITION_FAILED "revision-mismatch" "The resource was changed meanwhile"
        "`If-Match` names a revision that is not the current one (`current`, where the resource exists). Read again, repeat the change.";
    AlreadyThere PRECONDITION_FAILED "already-there" "The resource is already there"
        "`If-None-Match: *` asked to create only, and the resource exists.";
    ValueInvalid UNPROCESSABLE_ENTITY "value-invalid" "A value is not allowed"
        "The member `field` of the body has a value that is not allowed; `detail` says what is.";
    CertificateUnusable UNPROCESSABLE_ENTITY "certificate-unusable" "The certificate or its key cannot be used"
        "The chain or the key (`field`) is malformed or of a kind that is not supported, they do not belong together, or the certificate is not valid now; `detail` says which.";
    LimitReached CONFLICT "limit-reached" "A count limit is reached"
        "The tenant has as many of these as its limit `limit` allows (`most`). Remove one, or ask the operator for more.";
    HostTaken CONFLICT "host-taken" "The hostname is held by another tenant"
        "A hostname belongs to one tenant at a time.";
    HostNotAllowed FORBIDDEN "host-not-allowed" "The tenant may not route this hostname"
        "The operator limited the hostnames of this tenant; `detail` lists them.";
    ModuleInUse CONFLICT "module-in-use" "The module is still served"
        "Routes serve this module. Delete or change them first.";
    TenantSuspended CONFLICT "tenant-suspended" "The tenant is suspended"
        "The operator suspended the tenant; uploads are refused until that is lifted.";

    StatementMissing BAD_REQUEST "statement-missing" "The signed statement is missing"
        "An upload needs the header `Module-Signature`.";
    StatementMalformed BAD_REQUEST "statement-malformed" "The signed statement is not well formed"
        "`Module-Signature` is not a compact JWS with exactly the claims tenant, module, version, digest, iat, exp.";
    StatementAlgorithm BAD_REQUEST "statement-algorithm" "The statement's algorithm is not accepted"
        "Statements are signed with EdDSA over Ed25519, nothing else.";
    PublisherUnknown FORBIDDEN "publisher-unknown" "The publisher's key is not trusted"
        "The statement's `kid` is not among the tenant's publisher keys.";
    SignatureInvalid FORBIDDEN "signature-invalid" "The signature does not verify"
        "The statement was not signed by the key it names, or was changed afterwards.";
    StatementWrongTenant FORBIDDEN "statement-wrong-tenant" "The statement is for another tenant"
        "The statement's `tenant` is not the one in the path.";
    StatementWrongModule FORBIDDEN "statement-wrong-module" "The statement is for another module"
        "The statement's `module` is not the one in the path.";
    StatementExpired FORBIDDEN "statement-expired" "The statement is expired"
        "The statement's `exp` is past. Sign again.";
    StatementNotYetValid FORBIDDEN "statement-not-yet-valid" "The statement is not yet valid"
        "The statement's `iat` is ahead of the node's clock. Check both clocks.";
    StatementLifetime FORBIDDEN "statement-lifetime" "The statement is valid for too long"
        "From `iat` to `exp` is longer than the node accepts (`lifetime_s_max`).";
    VersionNotAbove CONFLICT "version-not-above" "The version is not above the highest accepted"
        "Versions of a module only rise, also after deletion (`highest`). Sign a higher one, or route to a kept one.";

    DigestMismatch UNPROCESSABLE_ENTITY "digest-mismatch" "The bytes are not what was signed"
        "The body's SHA-256 digest differs from the statement's.";
    BodyEmpty UNPROCESSABLE_ENTITY "body-empty" "The body is empty"
        "An upload's body is the component's bytes.";
    BodyTooLarge PAYLOAD_TOO_LARGE "body-too-large" "The component is too large"
        "The component is larger than the tenant may upload (`bytes_max`).";
    UploadsBusy SERVICE_UNAVAILABLE "uploads-busy" "Too many uploads at once"
        "The node takes no more uploads at the moment. Wait for `Retry-After`.";
    CompileQueueFull SERVICE_UNAVAILABLE "compile-queue-full" "Too many uploads wait for the compiler"
        "The compile queue is full. Wait for `Retry-After`.";

    NotAComponent UNPROCESSABLE_ENTITY "not-a-component" "The bytes are not a WebAssembly component"
        "A component in the binary format is expected; a core module, text or a truncated file is not.";
    ImportsNotOffered UNPROCESSABLE_ENTITY "imports-not-offered" "The component imports what is not offered"
        "The member `imports` lists what the component needs and this node does not offer to this tenant.";
    ExportsNotServed UNPROCESSABLE_ENTITY "exports-not-served" "The component exports nothing this node serves"
        "The component must export a wasi:http handler of a supported version.";
    MemoryDoesNotFit UNPROCESSABLE_ENTITY "memory-does-not-fit" "The component declares too much memory"
        "Its initial memory (`declared_bytes`) is above what one instance may have (`bytes_max`).";
    ComponentTooComplex UNPROCESSABLE_ENTITY "component-too-complex" "The component has too many parts"
        "One instance of it has more core instances or memories (`what`, `count`) than the engine gives one (`most`).";
    DoesNotCompile UNPROCESSABLE_ENTITY "does-not-compile" "The component does not compile"
        "The component is invalid, or uses what this node's compiler does not support.";
    CompileTooCostly UNPROCESSABLE_ENTITY "compile-too-costly" "Compiling costs too much"
        "Compiling was stopped at a limit of time, memory or output size.";

    ConfigurationRefused UNPROCESSABLE_ENTITY "configuration-refused" "The configuration is refused"
        "It cannot be read, is wrong, or changes what a running node cannot change (`why`); nothing was applied.";
    UpgradeFailed CONFLICT "upgrade-failed" "The node was not upgraded"
        "The new process did not come up, or the one before this is still draining; `detail` says which. The node goes on as it was.";
    FollowersBusy SERVICE_UNAVAILABLE "followers-busy" "Too many log followers at once"
        "The node, or the tenant, has as many open log streams as it may have. Close one, or wait for `Retry-After`.";
    BackupBusy SERVICE_UNAVAILABLE "backup-busy" "A backup is being taken already"
        "A node takes one backup at a time. Wait for `Retry-After`.";
    NotReady SERVICE_UNAVAILABLE "not-ready" "The node is not ready"
        "Requests would not be served now; `detail` says what is missing.";
    Draining SERVICE_UNAVAILABLE "draining" "The node is draining"
        "The node finishes what it admitted, or hands over to a new process, and takes no changes meanwhile.";
    StoreUnavailable SERVICE_UNAVAILABLE "store-unavailable" "The node's store is not available"
        "The node's store does not work at the moment; nothing was changed.";
    OutcomeUnknown SERVICE_UNAVAILABLE "outcome-unknown" "The change may or may not have been kept"
        "Writing the change failed half-way. Read the resource again once the node takes changes, or repeat the change: that is harmless.";
    StateFull INSUFFICIENT_STORAGE "state-full" "The node keeps no more state"
        "The control state has reached its bound (`bytes_max`); nothing was changed. Remove what is no longer needed.";
    DiskFull INSUFFICIENT_STORAGE "disk-full" "The node's disk is too full"
        "A reserve is kept free on the node's disk, and taking this would use it up; nothing was changed.";
    ChangeTooLarge CONFLICT "change-too-large" "The change is too large to be made at once"
        "Removing a tenant removes all it has in one step, and it has too much for one: remove its modules and routes first.";
    Internal INTERNAL_SERVER_ERROR "internal" "The node met a fault of its own"
        "A bug of the node or a fault of the box. The node's log has more under the `request_id`.";
}

impl Kind {
    /// The problem's `type`: a stable absolute URI.
    pub fn uri(self) -> String {
        format!("{TYPE_BASE}{}", self.slug())
    }

    /// The kind whose `type` this is; `None` for a URI from elsewhere or from a newer node.
    pub fn from_uri(uri: &str) -> Option<Self> {
        let slug = uri.strip_prefix(TYPE_BASE)?;
        Kind::ALL.iter().copied().find(|kind| kind.slug() == slug)
    }
}

/// The page `PROBLEMS.md`, written from the table.
pub fn page() -> String {
    let mut page = String::from(
        "# Problems\n\n\
         Every refusal of the admin API is an RFC 9457 problem: `application/problem+json` with `type`, `title`, `status`,\n\
         `detail`, `request_id` and, for some kinds, further members. The `type` is the address below with\n\
         the slug at its end; it is stable, `detail` is for people and may change.\n\n",
    );
    page.push_str(&format!("`{TYPE_BASE}<slug>`\n\n"));
    page.push_str("This page is written from `src/problem/kind.rs`: `UPDATE=1 cargo test -p control-api problems_page`.\n\n");
    page.push_str("| Slug | Status | Title | Meaning |\n| --- | --- | --- | --- |\n");
    for kind in Kind::ALL {
        page.push_str(&format!(
            "| `{}` | {} | {} | {} |\n",
            kind.slug(),
            kind.status().as_u16(),
            kind.title(),
            kind.about()
        ));
    }
    page
}
