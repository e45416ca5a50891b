//! RuntimeService: every call goes to containerd as it is, except those that the crate's page lists.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use cachestore::Store;
use cachestore::images::Image;
use http::uri::PathAndQuery;
use prost::{DecodeError, Message};
use proto::cri;
use tokio_stream::StreamExt;
use tonic::body::Body;
use tonic::codegen::BoxStream;
use tonic::server::NamedService;
use tonic::{Code, Request, Response, Status};
use tower::ServiceExt;

use super::codec::BytesCodec;
use super::patch;
use crate::containerd::Containerd;
use crate::containerd::register::Registrar;

/// The kubelet accepts messages of 16 MiB; exec output and long lists may be larger when crictl asks.
const MAX_MESSAGE_BYTES: usize = 64 << 20;

/// The service. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct RuntimeService(Arc<Backend>);

/// What the overridden methods need.
#[derive(Debug)]
pub(crate) struct Backend {
    pub(crate) store: Arc<Store>,
    pub(crate) containerd: Containerd,
    pub(crate) registrar: Arc<Registrar>,
    /// The cgroup under which pods go that name none; empty to leave it to containerd.
    pub(crate) cgroup_parent: String,
    /// The image of sandboxes.
    pub(crate) pause: cachestore::Reference,
}

type HttpResponse = http::Response<Body>;

impl RuntimeService {
    pub(crate) fn new(backend: Backend) -> Self {
        Self(Arc::new(backend))
    }

    async fn dispatch(self, request: http::Request<Body>) -> HttpResponse {
        let backend = Arc::clone(&self.0);
        let method = request.uri().path().rsplit('/').next().unwrap_or_default();
        let handling = match method {
            "RunPodSandbox" => Unary::RunPodSandbox,
            "CreateContainer" => Unary::CreateContainer,
            "RuntimeConfig" => Unary::RuntimeConfig,
            "ListContainers" => Unary::Patched(Patch::Containers),
            "ContainerStatus" => Unary::Patched(Patch::Status),
            "ContainerStats" | "ListContainerStats" => Unary::Patched(Patch::Stats),
            "PodSandboxStats" | "ListPodSandboxStats" => Unary::Patched(Patch::PodStats),
            "StreamContainers" => return stream(request, backend, Patch::Containers).await,
            "StreamContainerStats" => return stream(request, backend, Patch::Stats).await,
            "StreamPodSandboxStats" => return stream(request, backend, Patch::PodStats).await,
            _ => return self.forward(request).await,
        };
        unary(request, backend, handling).await
    }

    /// Passes a call on as the HTTP/2 request that it is, and its answer back.
    async fn forward(self, request: http::Request<Body>) -> HttpResponse {
        match self.0.containerd.channel().oneshot(request).await {
            Ok(answer) => answer,
            Err(error) => self.0.containerd.unreachable(&error).into_http(),
        }
    }
}

impl NamedService for RuntimeService {
    const NAME: &'static str = "runtime.v1.RuntimeService";
}

impl tower::Service<http::Request<Body>> for RuntimeService {
    type Response = HttpResponse;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move { Ok(service.dispatch(request).await) })
    }
}

/// A call whose message is bytes, and where it goes.
struct Call {
    path: PathAndQuery,
    request: Request<Bytes>,
}

/// How a call with one request and one answer is handled.
#[derive(Clone, Copy, Debug)]
enum Unary {
    RunPodSandbox,
    CreateContainer,
    RuntimeConfig,
    Patched(Patch),
}

async fn unary(request: http::Request<Body>, backend: Arc<Backend>, handling: Unary) -> HttpResponse {
    let path = path_of(&request);
    let service = tower::service_fn(move |request: Request<Bytes>| {
        let (backend, call) = (Arc::clone(&backend), Call { path: path.clone(), request });
        async move {
            match handling {
                Unary::RunPodSandbox => backend.run_pod_sandbox(call).await,
                Unary::CreateContainer => backend.create_container(call).await,
                Unary::RuntimeConfig => backend.runtime_config(call).await,
                Unary::Patched(patch) => backend.patched(call, patch).await,
            }
        }
    });
    grpc().unary(service, request).await
}

async fn stream(request: http::Request<Body>, backend: Arc<Backend>, patch: Patch) -> HttpResponse {
    let path = path_of(&request);
    let service = tower::service_fn(move |request: Request<Bytes>| {
        let call = Call { path: path.clone(), request };
        Arc::clone(&backend).patched_stream(call, patch)
    });
    grpc().server_streaming(service, request).await
}

fn grpc() -> tonic::server::Grpc<BytesCodec> {
    tonic::server::Grpc::new(BytesCodec)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES)
}

fn path_of(request: &http::Request<Body>) -> PathAndQuery {
    request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"))
}

/// What is changed in an answer.
#[derive(Clone, Copy, Debug)]
enum Patch {
    Containers,
    Status,
    Stats,
    PodStats,
}

impl Backend {
    async fn client(&self) -> Result<tonic::client::Grpc<tonic::transport::Channel>, Status> {
        let mut client = tonic::client::Grpc::new(self.containerd.channel())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        client.ready().await.map_err(|error| self.containerd.unreachable(&error))?;
        Ok(client)
    }

    async fn send(&self, call: Call) -> Result<Response<Bytes>, Status> {
        let answer = self.client().await?.unary(call.request, call.path, BytesCodec).await;
        answer.map_err(|status| self.containerd.explain(status))
    }

    async fn run_pod_sandbox(&self, call: Call) -> Result<Response<Bytes>, Status> {
        let pause = self.store.expect_image(&self.pause.to_string()).map_err(crate::status::from_store)?;
        self.registrar.until_connected().await;
        self.registrar.ensure(&pause).await?;
        let parent = self.cgroup_parent.clone();
        self.send(call.map(|bytes| patch::run_pod_sandbox(bytes, &parent))?).await
    }

    async fn create_container(&self, call: Call) -> Result<Response<Bytes>, Status> {
        let request =
            cri::CreateContainerRequest::decode(call.request.get_ref().clone()).map_err(|e| damaged(&e))?;
        let config = request.config.unwrap_or_default();
        self.registrar.until_connected().await;
        let volumes = config.mounts.iter().filter_map(|mount| mount.image.as_ref());
        let mut images = patch::Named::new();
        for spec in config.image.iter().chain(volumes) {
            if let Some(image) = self.registered(spec).await? {
                images.insert(spec.image.clone(), image.id);
            }
        }
        let parent = self.cgroup_parent.clone();
        self.send(call.map(|bytes| patch::create_container(bytes, &images, &parent))?).await
    }

    /// Registers the image that a specification names. One that the store does not have is left to containerd, whose
    /// answer says so.
    async fn registered(&self, spec: &cri::ImageSpec) -> Result<Option<Arc<Image>>, Status> {
        if spec.image.is_empty() {
            return Ok(None);
        }
        let image = self.store.resolve(&spec.image).map_err(crate::status::from_store)?;
        if let Some(image) = &image {
            self.registrar.ensure(image).await?;
        }
        Ok(image)
    }

    /// containerd 1.x does not know this method; it uses cgroupfs unless configured otherwise, and ours is not.
    async fn runtime_config(&self, call: Call) -> Result<Response<Bytes>, Status> {
        match self.send(call).await {
            Err(status) if status.code() == Code::Unimplemented => {
                let linux =
                    cri::LinuxRuntimeConfiguration { cgroup_driver: cri::CgroupDriver::Cgroupfs.into() };
                let answer = cri::RuntimeConfigResponse { linux: Some(linux) };
                Ok(Response::new(answer.encode_to_vec().into()))
            }
            answer => answer,
        }
    }

    async fn patched(&self, call: Call, patch: Patch) -> Result<Response<Bytes>, Status> {
        let answer = self.send(call).await?;
        let (metadata, bytes, extensions) = answer.into_parts();
        let bytes = self.apply(patch, &bytes).map_err(|error| damaged(&error))?;
        Ok(Response::from_parts(metadata, bytes, extensions))
    }

    async fn patched_stream(
        self: Arc<Self>,
        call: Call,
        patch: Patch,
    ) -> Result<Response<BoxStream<Bytes>>, Status> {
        let answer = self.client().await?.server_streaming(call.request, call.path, BytesCodec).await;
        let (metadata, messages, extensions) =
            answer.map_err(|status| self.containerd.explain(status))?.into_parts();
        let patched =
            messages.map(move |message| self.apply(patch, &message?).map_err(|error| damaged(&error)));
        Ok(Response::from_parts(metadata, Box::pin(patched), extensions))
    }

    fn apply(&self, patch: Patch, bytes: &Bytes) -> Result<Bytes, DecodeError> {
        let directory = self.store.dir().to_string_lossy();
        let find = |word: &str| self.store.resolve(word).unwrap_or_default();
        let patched = match patch {
            Patch::Containers => patch::containers(bytes, &find),
            Patch::Status => patch::container_status(bytes, &find),
            Patch::Stats => patch::container_stats(bytes, &directory),
            Patch::PodStats => patch::pod_stats(bytes, &directory),
        };
        patched.map(Bytes::from)
    }
}

impl Call {
    fn map(self, change: impl FnOnce(&[u8]) -> Result<Vec<u8>, DecodeError>) -> Result<Self, Status> {
        let (metadata, extensions, message) = self.request.into_parts();
        let message = Bytes::from(change(&message).map_err(|error| damaged(&error))?);
        Ok(Self { request: Request::from_parts(metadata, extensions, message), ..self })
    }
}

fn damaged(error: &DecodeError) -> Status {
    Status::invalid_argument(format!("the message is not what the protocol says: {error}"))
}
