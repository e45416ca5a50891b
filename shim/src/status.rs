//! The one place where errors become gRPC statuses.
#![deny(clippy::wildcard_enum_match_arm, clippy::match_wildcard_for_single_variants)]

use cachestore::error::chain;
use tonic::{Code, Status};

/// Turns a store error into a status whose message has the whole chain of causes.
pub(crate) fn from_store(error: cachestore::Error) -> Status {
    use cachestore::Error as Store;
    let code = match &error {
        Store::NotFound { .. } => Code::NotFound,
        Store::AlreadyExists { .. } => Code::AlreadyExists,
        Store::InUse { .. } | Store::Unsupported { .. } => Code::FailedPrecondition,
        Store::Invalid { .. } => Code::InvalidArgument,
        Store::Corrupt { .. } => Code::DataLoss,
        Store::NoSpace { .. } => Code::ResourceExhausted,
        Store::Busy { .. } => Code::Unavailable,
        Store::Io { .. } | Store::Database { .. } => Code::Internal,
    };
    Status::new(code, chain(&error))
}
