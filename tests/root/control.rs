//! The control API itself, for what no command asks.

use std::path::Path;

use anyhow::{Context as _, Result};
use proto::control as api;
use proto::control::images_client::ImagesClient;
use tokio::runtime::Runtime;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

/// A connection to shimd.
pub(crate) struct Control {
    runtime: Runtime,
    images: ImagesClient<Channel>,
}

/// A file of an image.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct File {
    pub(crate) content: Vec<u8>,
    pub(crate) mode: u32,
}

impl Control {
    pub(crate) fn connect(socket: &Path) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display()))?;
        let channel = runtime.block_on(endpoint.connect()).context("connect to shimd")?;
        Ok(Self { runtime, images: ImagesClient::new(channel) })
    }

    pub(crate) fn read_file(&mut self, name: &str, path: &str) -> Result<File, Status> {
        let request = api::ReadFileRequest { name: name.into(), path: path.into() };
        self.runtime.block_on(async {
            let mut chunks = self.images.read_file(request).await?.into_inner();
            let mut file = File { content: Vec::new(), mode: 0 };
            let mut size = None;
            while let Some(chunk) = chunks.message().await? {
                file.content.extend_from_slice(&chunk.data);
                if let (Some(mode), Some(bytes)) = (chunk.mode, chunk.size_bytes) {
                    assert!(size.replace(bytes).is_none(), "only the first chunk says what it is");
                    file.mode = mode;
                }
            }
            assert_eq!(size, Some(file.content.len() as u64));
            Ok(file)
        })
    }

    /// Sends an archive in one piece, and after it nothing, not even its end.
    pub(crate) fn load_without_end(&mut self, archive: Vec<u8>) -> Status {
        use tonic::codegen::tokio_stream::{self, StreamExt as _};
        let pieces: Vec<_> =
            archive.chunks(1 << 20).map(|data| api::LoadRequest { data: data.to_vec() }).collect();
        let requests = tokio_stream::iter(pieces).chain(tokio_stream::pending());
        self.runtime.block_on(async {
            let mut events = match self.images.load(requests).await {
                Ok(events) => events.into_inner(),
                Err(status) => return status,
            };
            loop {
                match events.message().await {
                    Ok(Some(_)) => {}
                    Ok(None) => return Status::ok("it ended"),
                    Err(status) => return status,
                }
            }
        })
    }
}
