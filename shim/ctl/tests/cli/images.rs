//! The images of the made-up store.

use proto::control as api;
use proto::control::images_server;
use proto::control::layer_progress::Phase;
use proto::control::pull_event::Event;
use proto::control::pull_request::Request as Sent;
use tonic::{Request, Response, Status, Streaming};

use crate::fake::{self, Answers, ago, answers, played};

pub(crate) struct Images;

/// Repeats a digit to a digest.
pub(crate) fn digest(digit: char) -> String {
    format!("sha256:{}", digit.to_string().repeat(64))
}

/// Three images: built, pulled, without a name.
pub(crate) fn all() -> Vec<api::Image> {
    let image = |digit, names: &[&str], age, size_bytes| api::Image {
        id: digest(digit),
        names: names.iter().map(|&name| name.to_owned()).collect(),
        created_at: ago(age),
        size_bytes,
        ..Default::default()
    };
    let pulled = api::Image {
        digests: vec![format!("registry.example:5000/team/app@{}", digest('d'))],
        ..image('b', &["registry.example:5000/team/app:1.2"], 3 * 86_400, 123_456_789)
    };
    vec![
        image('c', &[], 3_700, 12),
        pulled,
        image('a', &["docker.io/library/hellodocker:latest"], 90, 1_940_000),
    ]
}

fn find(name: &str) -> Result<api::Image, Status> {
    let found = all().into_iter().find(|image| {
        image.names.iter().any(|known| known.contains(name))
            || image.id.trim_start_matches("sha256:").starts_with(name)
    });
    found.ok_or_else(|| Status::not_found(format!("no such image: {name}")))
}

#[tonic::async_trait]
impl images_server::Images for Images {
    type PullStream = Answers<api::PullEvent>;
    type SaveStream = Answers<api::SaveChunk>;
    type LoadStream = Answers<api::LoadEvent>;
    type ReadFileStream = Answers<api::FileChunk>;

    async fn pull(
        &self,
        request: Request<Streaming<api::PullRequest>>,
    ) -> Result<Response<Self::PullStream>, Status> {
        let mut requests = request.into_inner();
        let Some(Sent::Start(start)) = requests.message().await?.and_then(|request| request.request) else {
            return Err(Status::invalid_argument("no start"));
        };
        if start.name.starts_with("unknown") {
            return Err(Status::not_found(format!("{}: no such repository", start.name)));
        }
        if start.name.starts_with("registry.example/private") {
            return Ok(Response::new(played(async move |events| refuse(&mut requests, &events).await)));
        }
        let up_to_date = start.name == "hellodocker";
        let mut events: Vec<_> = if up_to_date { Vec::new() } else { layers() };
        if start.name.starts_with("broken") {
            let reason = "registry-1.docker.io: connection refused";
            return Ok(Response::new(answers(
                events.into_iter().take(3).chain([Err(Status::unavailable(reason))]).collect(),
            )));
        }
        let name =
            if up_to_date { "docker.io/library/hellodocker:latest" } else { "docker.io/library/alpine:3" };
        let finished =
            api::PullFinished { image_id: digest('e'), name: name.into(), digest: digest('d'), up_to_date };
        events.push(Ok(api::PullEvent { event: Some(Event::Finished(finished)) }));
        Ok(Response::new(answers(events)))
    }

    async fn list(&self, request: Request<api::ListRequest>) -> Result<Response<api::ListResponse>, Status> {
        assert_eq!(request.into_inner().pattern, "");
        Ok(Response::new(api::ListResponse { images: all() }))
    }

    async fn inspect(
        &self,
        request: Request<api::InspectRequest>,
    ) -> Result<Response<api::InspectResponse>, Status> {
        let names = request.into_inner().names;
        let describe = |name: &String| {
            let image = find(name)?;
            Ok(format!(r#"{{"Id":"{}","RepoTags":["{name}"],"Size":{}}}"#, image.id, image.size_bytes))
        };
        let json = names.iter().map(describe).collect::<Result<_, Status>>()?;
        Ok(Response::new(api::InspectResponse { json }))
    }

    async fn history(
        &self,
        request: Request<api::HistoryRequest>,
    ) -> Result<Response<api::HistoryResponse>, Status> {
        let image = find(&request.into_inner().name)?;
        let entry = |created_by: &str, size_bytes| api::HistoryEntry {
            created_at: ago(90),
            created_by: created_by.into(),
            size_bytes,
            comment: "buildkit.dockerfile.v0".into(),
            empty_layer: size_bytes == 0,
            ..Default::default()
        };
        let newest = api::HistoryEntry { image_id: image.id, ..entry("CMD [\"/hello\"]", 0) };
        let copy = entry("COPY /compose/hello-docker/hello /usr/local/bin/hello # buildkit", 1_940_000);
        Ok(Response::new(api::HistoryResponse { entries: vec![newest, copy] }))
    }

    async fn tag(&self, request: Request<api::TagRequest>) -> Result<Response<api::TagResponse>, Status> {
        let api::TagRequest { source, name } = request.into_inner();
        Ok(Response::new(api::TagResponse { image_id: find(&source)?.id, name }))
    }

    async fn remove(
        &self,
        request: Request<api::RemoveRequest>,
    ) -> Result<Response<api::RemoveResponse>, Status> {
        let api::RemoveRequest { name, force } = request.into_inner();
        let image = find(&name)?;
        if image.id == digest('b') && !force {
            let message = "conflict: unable to remove repository reference, container abc is using it";
            return Err(Status::failed_precondition(message));
        }
        Ok(Response::new(api::RemoveResponse { untagged: image.names, deleted: vec![image.id] }))
    }

    async fn save(&self, request: Request<api::SaveRequest>) -> Result<Response<Self::SaveStream>, Status> {
        let names = request.into_inner().names;
        let chunk = |text: String| Ok(api::SaveChunk { data: text.into_bytes() });
        let mut chunks = Vec::new();
        for name in &names {
            match name.as_str() {
                "damaged" => chunks.push(Err(Status::data_loss("layer 17 is damaged"))),
                name => chunks.push(chunk(format!("archive of {}\n", find(name)?.id))),
            }
        }
        Ok(Response::new(answers(chunks)))
    }

    async fn load(
        &self,
        _: Request<Streaming<api::LoadRequest>>,
    ) -> Result<Response<Self::LoadStream>, Status> {
        Err(Status::unimplemented("the bundle is tested with a real store"))
    }

    async fn read_file(
        &self,
        _: Request<api::ReadFileRequest>,
    ) -> Result<Response<Self::ReadFileStream>, Status> {
        Err(Status::unimplemented("no command reads files of images"))
    }
}

/// Asks who is there, and refuses them.
async fn refuse(requests: &mut Streaming<api::PullRequest>, events: &fake::Events<api::PullEvent>) {
    let needed = api::CredentialNeeded { host: "registry.example".into() };
    let asked = events.send(Ok(api::PullEvent { event: Some(Event::CredentialNeeded(needed)) })).await;
    let answer = requests.message().await.ok().flatten().and_then(|request| request.request);
    if let (Ok(()), Some(Sent::Credential(credential))) = (asked, answer) {
        let message = format!("{}: access denied for {:?}", credential.host, credential.username);
        events.send(Err(Status::permission_denied(message))).await.ok();
    }
}

fn layers() -> Vec<Result<api::PullEvent, Status>> {
    let layer = |digit, phase: Phase, current_bytes| {
        let layer = api::LayerProgress {
            digest: digest(digit),
            phase: phase.into(),
            current_bytes,
            total_bytes: 41_234_567,
        };
        Ok(api::PullEvent { event: Some(Event::Layer(layer)) })
    };
    vec![
        layer('1', Phase::Waiting, 0),
        layer('2', Phase::Exists, 0),
        layer('1', Phase::Downloading, 1_234_567),
        layer('1', Phase::Unpacking, 41_234_567),
        layer('1', Phase::Done, 41_234_567),
        // Its end is not told: the terminal was slow.
        layer('3', Phase::Downloading, 10),
    ]
}
