//! The builder. The names of stages say what happens.

use proto::control as api;
use proto::control::build_event::Event;
use proto::control::build_request::Request as Sent;
use proto::control::builder_server;
use tonic::{Request, Response, Status, Streaming};

use crate::fake::{self, Answers, played};

/// The ID of every image that is built.
pub(crate) const BUILT: &str = "sha256:b111111111111111111111111111111111111111111111111111111111111111";

pub(crate) struct Builder;

type Events = fake::Events<api::BuildEvent>;

#[tonic::async_trait]
impl builder_server::Builder for Builder {
    type BuildStream = Answers<api::BuildEvent>;

    async fn build(
        &self,
        request: Request<Streaming<api::BuildRequest>>,
    ) -> Result<Response<Self::BuildStream>, Status> {
        let mut requests = request.into_inner();
        let Some(Sent::Start(start)) = requests.message().await?.and_then(|request| request.request) else {
            return Err(Status::invalid_argument("no start"));
        };
        if start.target == "refused" {
            return Err(Status::invalid_argument("invalid reference format: \"A\""));
        }
        Ok(Response::new(played(async move |events| {
            // The program may have gone away, which is what some tests want.
            play(&start, &mut requests, &events).await.ok();
        })))
    }
}

async fn play(
    start: &api::BuildStart,
    requests: &mut Streaming<api::BuildRequest>,
    events: &Events,
) -> Result<(), ()> {
    match start.target.as_str() {
        "echo" => echo(start, events).await?,
        "fails" => return fail(events).await,
        "no-line" => return send(events, Event::Failed(no_line())).await,
        "broken" => return events.send(Err(Status::data_loss("layer 17 is damaged"))).await.map_err(drop),
        "ends" => return Ok(()),
        "hangs" => return hang(requests, events).await,
        "stubborn" => {
            step(events, 1, "[1/1] RUN sleep infinity").await?;
            std::future::pending::<()>().await;
        }
        host if host.contains(".example") || host == "docker.io" => ask(host, requests, events).await?,
        _ => hello(events).await?,
    }
    let finished = api::BuildFinished { image_id: BUILT.into(), names: start.names.clone() };
    send(events, Event::Finished(finished)).await
}

async fn send(events: &Events, event: Event) -> Result<(), ()> {
    events.send(Ok(api::BuildEvent { event: Some(event) })).await.map_err(drop)
}

async fn step(events: &Events, step: u32, name: &str) -> Result<(), ()> {
    send(events, Event::StepStarted(api::StepStarted { step, name: name.into() })).await
}

async fn output(events: &Events, step: u32, data: &str) -> Result<(), ()> {
    send(events, Event::StepOutput(api::StepOutput { step, stream: 1, data: data.into() })).await
}

async fn item(
    events: &Events,
    step: u32,
    item: &str,
    current_bytes: u64,
    total_bytes: u64,
) -> Result<(), ()> {
    send(
        events,
        Event::StepProgress(api::StepProgress { step, item: item.into(), current_bytes, total_bytes }),
    )
    .await
}

async fn end(events: &Events, step: u32, cached: bool, error: &str) -> Result<(), ()> {
    let finished = api::StepFinished { step, cached, duration_us: 1_234_000, error: error.into() };
    send(events, Event::StepFinished(finished)).await
}

/// The build of the story.
async fn hello(events: &Events) -> Result<(), ()> {
    step(events, 1, "[internal] load build definition from Dockerfile").await?;
    item(events, 1, "transferring dockerfile:", 241, 0).await?;
    end(events, 1, false, "").await?;
    step(events, 2, "[build 1/2] FROM docker.io/library/golang:1.16").await?;
    item(events, 2, "sha256:0123456789ab", 2_100_000, 2_100_000).await?;
    end(events, 2, true, "").await?;
    step(events, 3, "[build 2/2] RUN go build -o hello main.go").await?;
    output(events, 3, "go: building\nno line end").await?;
    end(events, 3, false, "").await?;
    step(events, 4, "exporting to image").await?;
    item(events, 4, "exporting layers", 0, 0).await?;
    item(events, 4, "naming to docker.io/library/hellodocker:latest", 0, 0).await?;
    end(events, 4, false, "").await?;
    let warning = api::BuildWarning {
        message: "FromAsCasing: 'as' and 'FROM' keywords' casing do not match".into(),
        file: "Dockerfile".into(),
        line: 1,
    };
    send(events, Event::Warning(warning)).await
}

/// Says what was asked for.
async fn echo(start: &api::BuildStart, events: &Events) -> Result<(), ()> {
    let mut arguments: Vec<_> =
        start.build_args.iter().map(|(name, value)| format!("{name}={value}")).collect();
    arguments.sort();
    let dockerfile = start.dockerfile.as_deref().map(String::from_utf8_lossy);
    let said = [
        format!("context {}", start.context_dir),
        format!("dockerfile {} {dockerfile:?}", start.dockerfile_path),
        format!("names {:?}", start.names),
        format!("arguments {arguments:?}"),
        format!("no cache {}, pull {}", start.no_cache, start.pull),
    ];
    for (number, line) in (1..).zip(said) {
        step(events, number, &line).await?;
        end(events, number, true, "").await?;
    }
    Ok(())
}

async fn fail(events: &Events) -> Result<(), ()> {
    step(events, 1, "[1/4] FROM scratch").await?;
    end(events, 1, true, "").await?;
    step(events, 2, "[2/4] RUN sleep 60").await?;
    step(events, 3, "[4/4] RUN false").await?;
    output(events, 3, "one\ntwo\n").await?;
    let message = "process \"/bin/sh -c false\" did not complete successfully: exit code: 1";
    end(events, 3, false, message).await?;
    end(events, 2, false, "CANCELED").await?;
    let excerpt = ["WORKDIR /x", "COPY . .", "RUN false", "CMD [\"x\"]"];
    let failed = api::BuildFailed {
        message: message.into(),
        file: "Dockerfile".into(),
        first_line: 5,
        last_line: 5,
        excerpt_line: 3,
        excerpt: excerpt.map(str::to_owned).to_vec(),
        exit_code: 1,
        hint: String::new(),
        cancelled: false,
    };
    send(events, Event::Failed(failed)).await
}

fn no_line() -> api::BuildFailed {
    api::BuildFailed {
        message: "failed to read dockerfile: open Dockerfile: no such file or directory".into(),
        hint: "name it with -f".into(),
        ..Default::default()
    }
}

/// Runs until it is cancelled.
async fn hang(requests: &mut Streaming<api::BuildRequest>, events: &Events) -> Result<(), ()> {
    step(events, 1, "[1/1] RUN sleep infinity").await?;
    while let Ok(Some(_)) = requests.message().await {}
    end(events, 1, false, "the build was cancelled").await?;
    send(events, Event::Failed(api::BuildFailed { cancelled: true, ..Default::default() })).await
}

/// Asks for the credentials of a host, and says what came.
async fn ask(host: &str, requests: &mut Streaming<api::BuildRequest>, events: &Events) -> Result<(), ()> {
    send(events, Event::CredentialNeeded(api::CredentialNeeded { host: host.into() })).await?;
    let Ok(Some(api::BuildRequest { request: Some(Sent::Credential(credential)) })) =
        requests.message().await
    else {
        return Err(());
    };
    let api::Credential { host, username, password, identity_token, .. } = credential;
    step(events, 1, &format!("{host}: user {username:?} password {password:?} token {identity_token:?}"))
        .await?;
    end(events, 1, false, "").await
}
