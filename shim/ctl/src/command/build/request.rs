//! The arguments of a build, as the daemon gets them.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use proto::control as api;

use super::Args;
use crate::exit::Failure;

/// The name of the Dockerfile unless `--file` says another.
const DOCKERFILE: &str = "Dockerfile";
/// What stands for standard input.
const STDIN: &str = "-";
/// The largest Dockerfile that is read from standard input. The builder takes no larger one.
const MAX_DOCKERFILE_BYTES: u64 = 1 << 20;
/// How addresses of remote contexts begin.
const REMOTE: [&str; 3] = ["git@", "github.com/", "ssh://"];

/// Makes the first request of a build.
pub(super) fn start(args: &Args) -> Result<api::BuildStart, Failure> {
    let context = context(&args.context)?;
    let (dockerfile_path, dockerfile) = match &args.file {
        Some(path) if path == Path::new(STDIN) => {
            (DOCKERFILE.to_owned(), Some(read_dockerfile(std::io::stdin().lock())?))
        }
        Some(path) => (text(&absolute(path)?)?, None),
        None => (text(&context.join(DOCKERFILE))?, None),
    };
    Ok(api::BuildStart {
        context_dir: text(&context)?,
        dockerfile_path,
        dockerfile,
        names: args.tags.clone(),
        target: args.target.clone(),
        build_args: build_args(&args.build_args, |name| std::env::var_os(name))?,
        no_cache: args.no_cache,
        pull: args.pull,
    })
}

fn context(path: &Path) -> Result<PathBuf, Failure> {
    let shown = path.to_string_lossy();
    if shown == STDIN {
        let what =
            "a context cannot be read from standard input: name a directory, and the Dockerfile with -f -";
        return Err(Failure::Usage(what.into()));
    }
    if !path.is_dir() && (shown.contains("://") || REMOTE.iter().any(|start| shown.starts_with(start))) {
        return Err(Failure::Usage(format!(
            "a context cannot be remote: fetch {shown} and name its directory"
        )));
    }
    // The same directory by any way has one cache.
    let canonical = path.canonicalize().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            Failure::failed(format!("unable to prepare context: path {shown:?} not found"))
        }
        _ => Failure::failed(format!("unable to prepare context: path {shown:?}: {error}")),
    })?;
    if canonical.is_dir() {
        Ok(canonical)
    } else {
        Err(Failure::failed(format!("unable to prepare context: path {shown:?} is not a directory")))
    }
}

/// Makes the path of a file absolute. The file itself is not resolved: its ignore file lies where it is named.
fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    let absolute = std::path::absolute(path).with_context(|| format!("unable to read {}", path.display()))?;
    let resolved = absolute.parent().and_then(|dir| dir.canonicalize().ok()).zip(absolute.file_name());
    Ok(resolved.map_or_else(|| absolute.clone(), |(dir, name)| dir.join(name)))
}

fn text(path: &Path) -> Result<String, Failure> {
    let text = path.to_str().ok_or_else(|| Failure::failed(format!("the path {path:?} is not UTF-8")))?;
    Ok(text.to_owned())
}

fn read_dockerfile(from: impl std::io::Read) -> Result<Vec<u8>, Failure> {
    let mut dockerfile = Vec::new();
    from.take(MAX_DOCKERFILE_BYTES + 1)
        .read_to_end(&mut dockerfile)
        .context("read the Dockerfile from standard input")?;
    if dockerfile.len() as u64 > MAX_DOCKERFILE_BYTES {
        return Err(Failure::failed(format!(
            "the Dockerfile on standard input has more than {MAX_DOCKERFILE_BYTES} bytes"
        )));
    }
    Ok(dockerfile)
}

/// Takes values from the environment where none is given; a variable that is not there is left out, as docker does.
fn build_args(
    words: &[String],
    environment: impl Fn(&str) -> Option<OsString>,
) -> Result<HashMap<String, String>, Failure> {
    let mut found = HashMap::new();
    for word in words {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (word.as_str(), from_environment(word, &environment)?),
        };
        if name.is_empty() {
            return Err(Failure::Usage(format!("the build argument {word:?} has no name")));
        }
        if let Some(value) = value {
            found.insert(name.to_owned(), value);
        }
    }
    Ok(found)
}

fn from_environment(
    name: &str,
    environment: impl Fn(&str) -> Option<OsString>,
) -> Result<Option<String>, Failure> {
    // The environment has no variable whose name is empty or has a zero byte.
    let value = if name.is_empty() || name.contains('\0') { None } else { environment(name) };
    let text = value.map(|value| value.into_string()).transpose();
    text.map_err(|_| Failure::failed(format!("the value of {name} in the environment is not UTF-8")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts() {
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().canonicalize().unwrap().join("real");
        std::fs::create_dir(&real).unwrap();
        std::fs::File::create(real.join("file")).unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&real, &link).unwrap();
        assert_eq!(context(&link).unwrap(), real);
        assert_eq!(context(&real.join("../real/.")).unwrap(), real);
        let rows = [
            (Path::new("-"), "cannot be read from standard input"),
            (Path::new("https://example.org/x.git"), "cannot be remote"),
            (Path::new("git@example.org:x.git"), "cannot be remote"),
            (&real.join("none"), "none\" not found"),
            (&real.join("file"), "file\" is not a directory"),
            (&real.join("file/x"), "unable to prepare context"),
        ];
        for (path, expected) in rows {
            let message = context(path).unwrap_err().message().unwrap();
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn dockerfiles() {
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().canonicalize().unwrap();
        std::os::unix::fs::symlink("elsewhere", real.join("Dockerfile.dev")).unwrap();
        assert_eq!(
            absolute(&real.join("../").join(real.file_name().unwrap()).join("Dockerfile.dev")).unwrap(),
            real.join("Dockerfile.dev")
        );
        assert_eq!(absolute(Path::new("/no/such/Dockerfile")).unwrap(), Path::new("/no/such/Dockerfile"));
        assert_eq!(
            absolute(Path::new("x")).unwrap(),
            std::env::current_dir().unwrap().canonicalize().unwrap().join("x")
        );
        assert_eq!(read_dockerfile(&b"FROM scratch"[..]).unwrap(), b"FROM scratch");
        let large = vec![b'#'; 1 + (1 << 20)];
        assert_eq!(read_dockerfile(&large[1..]).unwrap().len(), 1 << 20);
        assert!(read_dockerfile(&large[..]).is_err());
    }

    #[test]
    fn arguments() {
        let environment = |name: &str| (name == "HOME").then(|| OsString::from("/root"));
        let parse = |words: &[&str]| {
            let words: Vec<_> = words.iter().map(|&word| word.to_owned()).collect();
            build_args(&words, environment).map(|found| {
                let mut found: Vec<_> =
                    found.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
                found.sort();
                found.join(" ")
            })
        };
        assert_eq!(parse(&["A=1", "B=x=y", "HOME", "NOPE", "C="]).unwrap(), "A=1 B=x=y C= HOME=/root");
        assert_eq!(parse(&["A=1", "A=2"]).unwrap(), "A=2");
        assert!(matches!(parse(&["=1"]), Err(Failure::Usage(_))));
        assert!(matches!(parse(&[""]), Err(Failure::Usage(_))));
    }
}
