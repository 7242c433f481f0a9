//! Jobs: uploads that were answered with 202.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;

use super::Api;
use super::access::{ReadWork, TenantAccess};
use super::extract::{InPath, InQuery, JobId, NoQuery};
use super::openapi::TenantReadProblems;
use super::reply::json;
use crate::problem::Fault;
use crate::view::Job;

/// Where an upload stands.
#[utoipa::path(
    get,
    path = "/v1/tenants/{tenant}/jobs/{job}",
    tag = "modules",
    operation_id = "get_job",
    params(
        ("tenant" = String, Path, description = "The tenant's name"),
        ("job" = String, Path, description = "The job's id")
    ),
    responses((status = 200, description = "The job", body = Job), TenantReadProblems),
    security(("bearer" = ["node:admin", "node:read", "tenant:admin", "deploy", "read"]))
)]
pub(super) async fn show(
    access: TenantAccess<ReadWork>,
    State(api): State<Api>,
    InPath(JobId(job)): InPath<JobId>,
    _: InQuery<NoQuery>,
) -> Result<Response, Fault> {
    json(
        StatusCode::OK,
        &api.plane().job(&access.tenant, &job).await?,
    )
}
