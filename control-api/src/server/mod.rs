//! The admin API over HTTP/1.1: axum in front of a [`ControlPlane`].
//!
//! Takes connections on loopback, over TLS from everywhere, on a Unix socket, or on listeners handed in; promises that every answer carries a
//! request id, every refusal is a problem, access is checked before a body byte is read, and a change that began runs to
//! its end even where the client hangs up. Never decides anything that the plane should.

mod access;
mod backup;
mod certificates;
mod conditions;
mod connection;
mod databases;
mod envelope;
mod extract;
mod followers;
mod grants;
mod health;
mod jobs;
mod keys;
mod listen;
mod logs;
mod modules;
mod node;
mod openapi;
mod reply;
mod routes;
mod stores;
mod tenants;
mod tls;
mod upload;
mod variables;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::MethodRouter;
use edge_config::Config;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;
use utoipa_axum::PathItemExt as _;

use crate::auth::Authenticator;
use crate::error::PlaneError;
use crate::plane::ControlPlane;
use crate::problem::{Fault, RequestError};
use followers::Followers;
pub use listen::{CONNECTIONS_MAX, HEADER_MS_MAX, ListenError, ListenOptions, Listening, Server};
pub use openapi::openapi_json;
pub use tls::{AdminTls, AdminTlsError};

/// Largest JSON body, in bytes, where the configuration says nothing else.
pub const BODY_JSON_BYTES_MAX: usize = 256 * 1024;
/// Longest wait for a whole JSON body.
pub const BODY_JSON_MS_MAX: u64 = 10_000;
/// Most open log streams of the whole node.
pub const LOG_FOLLOWERS_MAX: usize = 64;
/// Most open log streams of one tenant.
pub const LOG_FOLLOWERS_OF_TENANT_MAX: usize = 8;

/// What the API stands on.
#[derive(Clone)]
pub struct ApiOptions {
    /// Does the work.
    pub plane: Arc<dyn ControlPlane>,
    /// Checks tokens.
    pub authenticator: Arc<Authenticator>,
    /// Holds changes that began, so that shutting down can wait for them.
    pub tracker: TaskTracker,
    /// Largest JSON body, in bytes.
    pub body_json_bytes_max: usize,
    /// Longest wait for a whole JSON body.
    pub body_json_timeout: Duration,
    /// The bearer token that `/metrics` asks for; without one it asks for none.
    pub metrics_token: Option<String>,
    /// Most open log streams of the whole node.
    pub log_followers_max: usize,
    /// Most open log streams of one tenant.
    pub log_followers_of_tenant_max: usize,
}

impl ApiOptions {
    /// The usual bounds, and `/metrics` without a token.
    pub fn new(
        plane: Arc<dyn ControlPlane>,
        authenticator: Arc<Authenticator>,
        tracker: TaskTracker,
    ) -> Self {
        Self {
            plane,
            authenticator,
            tracker,
            body_json_bytes_max: BODY_JSON_BYTES_MAX,
            body_json_timeout: Duration::from_millis(BODY_JSON_MS_MAX),
            metrics_token: None,
            log_followers_max: LOG_FOLLOWERS_MAX,
            log_followers_of_tenant_max: LOG_FOLLOWERS_OF_TENANT_MAX,
        }
    }

    /// With the bounds that the operator's configuration sets.
    pub fn bounded_by(mut self, config: &Config) -> Self {
        let kib = usize::try_from(config.admin.body_json_kib_max)
            .expect("32 bits fit into an address on every machine this runs on");
        self.body_json_bytes_max = kib * 1024;
        self
    }
}

/// What every handler shares.
#[derive(Clone)]
struct Api {
    options: Arc<ApiOptions>,
    followers: Followers,
    /// Cancelled when the server stops, so that streams without an end get one.
    closing: CancellationToken,
}

impl Api {
    fn new(options: ApiOptions, closing: CancellationToken) -> Self {
        Self {
            followers: Followers::new(
                options.log_followers_max,
                options.log_followers_of_tenant_max,
            ),
            options: Arc::new(options),
            closing,
        }
    }

    fn plane(&self) -> Arc<dyn ControlPlane> {
        Arc::clone(&self.options.plane)
    }

    /// Runs a change as a task of its own and waits for it.
    ///
    /// # Cancel safety
    /// Where the caller stops waiting, the change still runs to its end.
    async fn change<T, W>(&self, work: W) -> Result<T, Fault>
    where
        T: Send + 'static,
        W: Future<Output = Result<T, PlaneError>> + Send + 'static,
    {
        let task = self.options.tracker.spawn(work.in_current_span());
        match task.await {
            Ok(result) => Ok(result?),
            Err(lost) => Err(RequestError::TaskLost {
                inside: lost.to_string(),
            }
            .into()),
        }
    }
}

/// Every operation, those of one path together: what the router is made of, and in tests the document.
macro_rules! operations {
    ($made:ident) => {
        $made! {
            health::alive;
            health::ready;
            health::metrics;
            health::openapi;
            node::greet;
            node::status;
            node::reload;
            node::upgrade;
            node::audit;
            backup::take;
            tenants::list;
            tenants::holdings;
            tenants::show, tenants::put, tenants::delete;
            tenants::usage;
            tenants::receipt;
            logs::logs;
            keys::list;
            keys::show, keys::put, keys::delete;
            certificates::list;
            certificates::show, certificates::put, certificates::delete;
            modules::list;
            modules::show, upload::put, modules::delete;
            modules::version;
            modules::instances, modules::put_instances;
            grants::show, grants::put;
            variables::list;
            variables::show, variables::put, variables::delete;
            stores::list;
            stores::show, stores::put, stores::delete;
            databases::list;
            databases::delete;
            databases::query;
            jobs::show;
            routes::list;
            routes::show, routes::put, routes::delete;
        }
    };
}

macro_rules! router_of {
    ($($($module:ident::$handler:ident),+;)+) => {
        Router::new()$($(.route(
            &operation!($module::$handler as path)(),
            operation!($module::$handler as methods)().iter().fold(MethodRouter::new(), |router, method| {
                router.on(method.to_method_filter(), $module::$handler)
            }),
        ))+)+
    };
}

/// What `utoipa::path` says of a handler, under the name that it gives it.
macro_rules! operation {
    ($module:ident::$handler:ident as $what:ident) => {
        utoipa_axum::paste! { <$module::[<__path_ $handler>] as utoipa::Path>::$what }
    };
}

/// The document of all operations, as the handlers have it.
#[cfg(test)]
fn document() -> utoipa::openapi::OpenApi {
    macro_rules! document_of {
        ($($($module:ident::$handler:ident),+;)+) => {
            utoipa_axum::router::OpenApiRouter::<Api>::with_openapi(openapi::base())
                $(.routes(utoipa_axum::routes!($($module::$handler),+)))+
        };
    }
    operations!(document_of).into_openapi()
}

fn router(api: Api) -> Router {
    operations!(router_of)
        .layer(axum::middleware::from_fn(envelope::envelope))
        .with_state(api)
}
