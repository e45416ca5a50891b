//! Documents in containerd's content store.

use std::collections::HashMap;

use cachestore::Digest;
use containerd_client::services::v1::{Info, UpdateRequest, WriteAction, WriteContentRequest};
use tonic::{Code, Status};

use super::{Containerd, request};

impl Containerd {
    /// Writes a document with labels; where it is already, only the labels.
    pub(super) async fn put_content(
        &self,
        lease: &str,
        bytes: &[u8],
        labels: HashMap<String, String>,
    ) -> Result<(), Status> {
        let digest = Digest::of(bytes).to_string();
        let size = i64::try_from(bytes.len()).unwrap_or(i64::MAX);
        let commit = WriteContentRequest {
            action: WriteAction::Commit as i32,
            r#ref: format!("shimd-{digest}"),
            total: size,
            expected: digest.clone(),
            offset: 0,
            data: bytes.to_vec(),
            labels: labels.clone(),
        };
        let mut request = request(tokio_stream::once(commit), Some(lease));
        request.set_timeout(super::register::CALL_TIMEOUT);
        let written = match self.content().write(request).await {
            Ok(answers) => drain(answers.into_inner()).await,
            Err(status) => Err(status),
        };
        match written {
            Err(status) if status.code() == Code::AlreadyExists => self.label_content(digest, labels).await,
            result => result,
        }
    }

    async fn label_content(&self, digest: String, labels: HashMap<String, String>) -> Result<(), Status> {
        let paths = labels.keys().map(|key| format!("labels.{key}")).collect();
        let update = UpdateRequest {
            info: Some(Info { digest, labels, ..Info::default() }),
            update_mask: Some(prost_types::FieldMask { paths }),
        };
        self.content().update(request(update, None)).await.map(drop)
    }
}

async fn drain<T>(mut answers: tonic::Streaming<T>) -> Result<(), Status> {
    while answers.message().await?.is_some() {}
    Ok(())
}
