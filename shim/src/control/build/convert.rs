//! The builder's values in the words of the control API.

use std::io::Read;
use std::path::{Path, PathBuf};

use builder::dockerfile::MAX_FILE_BYTES;
use builder::{BuildError, BuildRequest, Built, Event, Kind, Outcome, Output};
use cachestore::Reference;
use proto::control as api;
use proto::control::build_event::Event as Shown;

/// How many lines of the Dockerfile are shown around those that are to blame.
const EXCERPT_LINES: u32 = 2;

/// Reads what the caller wants, and the Dockerfile.
pub(super) fn request(start: api::BuildStart) -> Result<BuildRequest, BuildError> {
    let wrong = |message: String| BuildError { kind: Kind::Invalid, message, location: None, hint: None };
    let parse =
        |name: &String| name.parse::<Reference>().map_err(|error| wrong(cachestore::error::chain(&error)));
    let names = start.names.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
    if let Some(name) = names.iter().find(|name| name.digest().is_some()) {
        return Err(wrong(format!("{name}: an image cannot be given a name with a digest")));
    }
    let context_dir = PathBuf::from(&start.context_dir);
    if !context_dir.is_absolute() {
        return Err(wrong(format!("the build context {:?} is not an absolute path", start.context_dir)));
    }
    let (dockerfile, dockerfile_path) = match start.dockerfile {
        Some(text) => (text, None),
        None => {
            let path = PathBuf::from(&start.dockerfile_path);
            let text = read(&path).map_err(|error| {
                wrong(format!("failed to read dockerfile: open {}: {error}", path.display()))
            })?;
            (text, Some(path))
        }
    };
    let name = Path::new(&start.dockerfile_path).file_name();
    Ok(BuildRequest {
        context_dir,
        dockerfile,
        dockerfile_name: name
            .map_or_else(|| start.dockerfile_path.clone(), |name| name.to_string_lossy().into_owned()),
        dockerfile_path,
        names,
        target: Some(start.target).filter(|target| !target.is_empty()),
        build_args: start.build_args.into_iter().collect(),
        no_cache: start.no_cache,
        pull: start.pull,
    })
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    std::fs::File::open(path)?.take(MAX_FILE_BYTES as u64 + 1).read_to_end(&mut text)?;
    Ok(text)
}

/// Describes what happened.
pub(super) fn event(event: Event) -> Shown {
    match event {
        Event::Started { step, name } => Shown::StepStarted(api::StepStarted { step: step.0, name }),
        Event::Output { step, stream, data } => {
            let stream = match stream {
                Output::Stdout => 1,
                Output::Stderr => 2,
            };
            Shown::StepOutput(api::StepOutput { step: step.0, stream, data })
        }
        Event::Progress { step, transfer } => Shown::StepProgress(api::StepProgress {
            step: step.0,
            item: transfer.item,
            current_bytes: transfer.current_bytes,
            total_bytes: transfer.total_bytes,
        }),
        Event::Finished { step, outcome, elapsed } => {
            let (cached, error) = match outcome {
                Outcome::Done => (false, String::new()),
                Outcome::Cached => (true, String::new()),
                Outcome::Failed(error) => (false, error),
            };
            let duration_us = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
            Shown::StepFinished(api::StepFinished { step: step.0, cached, duration_us, error })
        }
        Event::Warning { message, location } => {
            Shown::Warning(api::BuildWarning { message, file: String::new(), line: location.first_line })
        }
    }
}

/// Describes the image that was built.
pub(super) fn finished(built: &Built, request: &BuildRequest) -> api::BuildFinished {
    api::BuildFinished {
        image_id: built.image.id.to_string(),
        names: request.names.iter().map(ToString::to_string).collect(),
    }
}

/// Describes a failure, with the lines of the Dockerfile around it.
pub(super) fn failure(error: &BuildError, file: &str, dockerfile: &[u8]) -> api::BuildFailed {
    let mut failed = api::BuildFailed {
        message: error.message.clone(),
        file: file.to_owned(),
        hint: error.hint.clone().unwrap_or_default(),
        cancelled: error.kind == Kind::Cancelled,
        ..api::BuildFailed::default()
    };
    if let Kind::Command(code) = error.kind {
        failed.exit_code = code;
    }
    if let Some(location) = error.location {
        let first = location.first_line.saturating_sub(EXCERPT_LINES).max(1);
        let text = String::from_utf8_lossy(dockerfile);
        let lines = (1..).zip(text.lines());
        let shown = lines.filter(|(number, _)| (first..=location.last_line + EXCERPT_LINES).contains(number));
        failed.excerpt = shown.map(|(_, line)| line.to_owned()).collect();
        failed.excerpt_line = first;
        (failed.first_line, failed.last_line) = (location.first_line, location.last_line);
    }
    failed
}

#[cfg(test)]
mod tests {
    use builder::dockerfile::Location;

    use super::*;

    #[test]
    fn failures_show_the_lines_around_them() {
        let text = b"one\ntwo\nthree\nfour\nfive\nsix\n";
        let fail = |first_line, last_line| {
            let location = Some(Location { first_line, last_line });
            let error = BuildError { kind: Kind::Command(7), message: "m".into(), location, hint: None };
            failure(&error, "Dockerfile", text)
        };
        for (first, last, from, lines) in [
            (1, 1, 1, "one two three"),
            (4, 4, 2, "two three four five six"),
            (5, 6, 3, "three four five six"),
        ] {
            let failed = fail(first, last);
            assert_eq!((failed.excerpt_line, failed.excerpt.join(" ").as_str()), (from, lines));
            assert_eq!((failed.first_line, failed.last_line, failed.exit_code), (first, last, 7));
        }
    }

    #[test]
    fn requests_are_checked() {
        let start = |change: fn(&mut api::BuildStart)| {
            let mut start = api::BuildStart {
                context_dir: "/".into(),
                dockerfile: Some(b"FROM scratch".to_vec()),
                dockerfile_path: "-".into(),
                names: vec!["app".into()],
                ..api::BuildStart::default()
            };
            change(&mut start);
            request(start).map_err(|error| error.message)
        };
        assert_eq!(start(|_| {}).unwrap().names[0].to_string(), "docker.io/library/app:latest");
        assert!(start(|start| start.names = vec!["UPPER".into()]).unwrap_err().contains("UPPER"));
        assert!(start(|start| start.context_dir = "relative".into()).unwrap_err().contains("relative"));
        let missing =
            start(|start| (start.dockerfile, start.dockerfile_path) = (None, "/no/Dockerfile".into()));
        assert!(missing.unwrap_err().contains("/no/Dockerfile"));
        let digest = start(|start| start.names = vec![format!("a@{}", cachestore::Digest::of(b""))]);
        assert!(digest.unwrap_err().contains("digest"));
    }
}
