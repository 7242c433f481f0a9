//! The REST contract of a Littoral node.
//!
//! Takes requests on the admin listener, promises the shapes, problems and access rules of `/v1`, and asks a
//! [`plane::ControlPlane`] to do the work. It never names wasmtime or the store: both ends of the contract, server
//! and client, build and test without them.

pub mod archive;
pub mod auth;
pub mod cli;
pub mod client;
mod encode;
pub mod error;
pub mod files;
mod json;
pub mod keypair;
pub mod manual;
pub mod plane;
pub mod problem;
pub mod receipt;
pub mod request_id;
pub mod server;
pub mod statement;
pub mod token;
pub mod view;
