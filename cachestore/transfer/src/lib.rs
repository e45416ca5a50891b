#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod auth;
mod blob;
mod client;
mod error;
mod hosts;
mod http;
mod limits;
mod pull;
mod repository;
mod retry;
mod session;
#[cfg(test)]
mod testing;

pub use auth::{Asked, Credential, Credentials, Fixed};
pub use blob::{BlobStream, Mismatch, VerifiedBlob, Verifier};
pub use client::{Client, Config};
pub use error::{Attempt, Attempts, BoxError, Cause, Error, Result, Shown};
pub use limits::Limits;
pub use pull::{LayerEvent, Observer, Phase, PullError, Pulled, Puller};
pub use repository::{Repository, Resolved};
