//! The one door from async code into the store, which blocks.

use tonic::Status;

use crate::status;

/// Runs store work on a thread where it may block.
///
/// # Cancellation
/// The work goes on to its end when the caller goes away: store operations are whole or not at all.
pub(crate) async fn run<T: Send + 'static>(
    work: impl FnOnce() -> cachestore::Result<T> + Send + 'static,
) -> Result<T, Status> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(status::from_store),
        Err(panic) => Err(Status::internal(format!("a store operation panicked: {panic}"))),
    }
}
