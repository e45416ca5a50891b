//! Programs that work for minutes. They end with this process, whatever ends it, and so does everything that they start.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

use super::{MAX_SHOWN_BYTES, find, search_path};
use crate::error::{Error, Result};

/// How much standard output is read: an answer of a line or two.
const MAX_OUTPUT_BYTES: u64 = 1 << 16;
/// The longest line of standard error that is looked at.
const MAX_LINE_BYTES: usize = 1 << 14;
/// Where Go is when it was installed as its own documentation says, which sudo's search path lacks.
const GO: &str = "/usr/local/go/bin/go";

/// One run of a program.
#[derive(Debug)]
pub(crate) struct Tied {
    line: String,
    command: Command,
    limit: Duration,
}

impl Tied {
    fn new(words: &[&OsStr], limit: Duration) -> Self {
        let line = words.join(OsStr::new(" ")).to_string_lossy().into_owned();
        let mut prefix: Vec<OsString> = ["setpriv", "--pdeathsig", "KILL"].map(OsString::from).to_vec();
        if rustix::process::geteuid().is_root() {
            // The kernel ends everything in a process namespace with its first process.
            prefix.extend(["unshare", "--pid", "--fork", "--kill-child"].map(OsString::from));
        }
        let mut command = Command::new(&prefix[0]);
        command
            .args(&prefix[1..])
            .arg("--")
            .args(words)
            .env("PATH", search_path())
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        Self { line, command, limit }
    }

    fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Runs it to its end and returns its standard output; `said` gets each line of its standard error.
    pub(crate) async fn run(mut self, said: &(dyn Fn(&str) + Sync)) -> Result<String> {
        let failed = |outcome: String, stderr: &str| Error::Command {
            line: shorten(&self.line),
            outcome,
            stderr: end_of(stderr).to_owned(),
        };
        let mut child = self
            .command
            .spawn()
            .map_err(|error| failed(format!("cannot be started by setpriv: {error}"), ""))?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let all = async { tokio::join!(answer(stdout), lines(stderr, said), child.wait()) };
        let limit = self.limit;
        let Ok((stdout, stderr, status)) = tokio::time::timeout(limit, all).await else {
            return Err(failed(format!("did not end within {limit:?}"), ""));
        };
        match status {
            Ok(status) if status.success() => Ok(String::from_utf8_lossy(&stdout).trim().to_owned()),
            Ok(status) => Err(failed(format!("failed ({status})"), &stderr)),
            Err(error) => Err(failed(format!("cannot be waited for: {error}"), "")),
        }
    }
}

/// Linker flags are long, and say nothing to users.
fn shorten(line: &str) -> String {
    const MAX_CHARS: usize = 160;
    if line.chars().count() <= MAX_CHARS {
        return line.to_owned();
    }
    let kept: String = line.chars().take(MAX_CHARS).collect();
    format!("{kept}…")
}

/// The last lines tell why.
fn end_of(text: &str) -> &str {
    let text = text.trim();
    let start = text.len().saturating_sub(MAX_SHOWN_BYTES);
    let start = (start..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
    &text[start..]
}

async fn answer(pipe: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let mut output = Vec::new();
    if let Some(pipe) = pipe {
        pipe.take(MAX_OUTPUT_BYTES).read_to_end(&mut output).await.ok();
    }
    output
}

/// Passes lines on and returns the last of them.
async fn lines(pipe: Option<impl AsyncRead + Unpin>, said: &(dyn Fn(&str) + Sync)) -> String {
    let Some(mut pipe) = pipe else { return String::new() };
    let (mut tail, mut line, mut chunk) = (String::new(), Vec::new(), [0; 4096]);
    while let Ok(count @ 1..) = pipe.read(&mut chunk).await {
        for &byte in &chunk[..count] {
            if byte != b'\n' {
                if line.len() < MAX_LINE_BYTES {
                    line.push(byte);
                }
                continue;
            }
            let text = String::from_utf8_lossy(&line);
            said(&text);
            tail = format!("{}\n{text}", end_of(&tail));
            line.clear();
        }
    }
    format!("{tail}\n{}", String::from_utf8_lossy(&line))
}

/// Finds Go.
pub(crate) fn go() -> Option<PathBuf> {
    find("go").or_else(|| Some(PathBuf::from(GO)).filter(|path| path.is_file()))
}

/// Asks Go for its version, as `go1.26.8`.
pub(crate) async fn go_version(go: &Path) -> Result<String> {
    const LIMIT: Duration = Duration::from_secs(20);
    let words = [go.as_os_str(), "env".as_ref(), "GOVERSION".as_ref()];
    Tied::new(&words, LIMIT).env("GOTOOLCHAIN", "local").env("GOFLAGS", "").run(&|_| {}).await
}

/// One `go build`.
#[derive(Debug)]
pub(crate) struct GoBuild<'a> {
    pub(crate) go: &'a Path,
    /// The directory of the module.
    pub(crate) module: &'a Path,
    pub(crate) linker_flags: &'a str,
    pub(crate) package: &'a str,
    pub(crate) output: &'a Path,
    /// Where Go keeps what it downloads and compiles; without it, where it always does.
    pub(crate) home: Option<&'a Path>,
}

impl GoBuild<'_> {
    /// Prepares it: no C, no other toolchain, nothing that depends on the directory.
    pub(crate) fn command(&self) -> Tied {
        /// The API server takes two minutes on two cores; a slow network and a slow machine take long.
        const LIMIT: Duration = Duration::from_secs(3600);
        let words: [&OsStr; 8] = [
            self.go.as_os_str(),
            "build".as_ref(),
            "-trimpath".as_ref(),
            "-ldflags".as_ref(),
            self.linker_flags.as_ref(),
            "-o".as_ref(),
            self.output.as_os_str(),
            self.package.as_ref(),
        ];
        let mut tied = Tied::new(&words, LIMIT);
        tied.command.current_dir(self.module);
        // The machine's own architecture, whatever the caller's shell asks for.
        for name in ["GOOS", "GOARCH", "GOROOT", "GOEXPERIMENT", "GODEBUG"] {
            tied.command.env_remove(name);
        }
        let mut flags = "-mod=readonly -buildvcs=false".to_owned();
        if let Some(home) = self.home {
            // So that the cache can be removed as any other directory.
            flags.push_str(" -modcacherw");
            tied =
                tied.env("GOPATH", home.join("path")).env("GOCACHE", home.join("cache")).env("GOENV", "off");
        }
        tied.env("CGO_ENABLED", "0").env("GOTOOLCHAIN", "local").env("GOWORK", "off").env("GOFLAGS", flags)
    }
}

/// Unpacks Debian packages, and what they depend on, into a directory; their scripts are not run.
pub(crate) fn mmdebstrap(packages: &str, suite: &str, directory: &Path) -> Tied {
    const LIMIT: Duration = Duration::from_secs(900);
    let include = format!("--include={packages}");
    let words: [&OsStr; 6] = [
        "mmdebstrap".as_ref(),
        "--quiet".as_ref(),
        "--variant=extract".as_ref(),
        include.as_ref(),
        suite.as_ref(),
        directory.as_os_str(),
    ];
    Tied::new(&words, LIMIT)
}

/// Asks a kubeadm for the names of the images that a version needs; with its own version it asks nobody else.
pub(crate) fn kubeadm_images(kubeadm: &Path, version: &str) -> Tied {
    const LIMIT: Duration = Duration::from_secs(60);
    let words: [&OsStr; 6] = [
        kubeadm.as_os_str(),
        "config".as_ref(),
        "images".as_ref(),
        "list".as_ref(),
        "--kubernetes-version".as_ref(),
        version.as_ref(),
    ];
    Tied::new(&words, LIMIT)
}

/// Runs a program of another root directory.
pub(crate) fn chroot(root: &Path, words: &[&str]) -> Tied {
    const LIMIT: Duration = Duration::from_secs(20);
    let mut all: Vec<&OsStr> = vec!["chroot".as_ref(), root.as_os_str()];
    all.extend(words.iter().map(OsStr::new));
    Tied::new(&all, LIMIT)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    fn shell(script: &str) -> Tied {
        Tied::new(&["sh".as_ref(), "-c".as_ref(), script.as_ref()], Duration::from_secs(20))
    }

    #[tokio::test]
    async fn lines_are_passed_on_and_the_last_ones_shown() {
        let said = Mutex::new(Vec::new());
        let listen = |line: &str| said.lock().unwrap().push(line.to_owned());
        assert_eq!(shell("echo one >&2; echo out; printf two >&2").run(&listen).await.unwrap(), "out");
        assert_eq!(said.into_inner().unwrap(), ["one"]);
        let error = shell("for i in $(seq 999); do echo line $i >&2; done; echo why >&2; exit 3");
        let error = error.run(&|_| {}).await.unwrap_err().to_string();
        assert!(error.contains("failed (exit status: 3)") && error.ends_with("line 999\nwhy"), "{error}");
        assert!(error.len() < 3000, "{}", error.len());
    }

    #[tokio::test]
    async fn all_of_it_ends_when_it_is_not_waited_for_any_more() {
        let directory = tempfile::tempdir().unwrap();
        let fifo = directory.path().join("fifo");
        shell(&format!("mkfifo {}", fifo.display())).run(&|_| {}).await.unwrap();
        // What the program starts is ended where a process namespace can be made.
        let is_root = rustix::process::geteuid().is_root();
        let rest = if is_root { "sleep 1000 & sleep 1000" } else { "exec sleep 1000" };
        let run = shell(&format!("exec 9>{}; echo begun >&9; {rest}", fifo.display()));
        let mut pipe = tokio::net::unix::pipe::OpenOptions::new().open_receiver(&fifo).unwrap();
        let mut begun = [0; 6];
        tokio::select! {
            ended = run.run(&|_| {}) => panic!("{ended:?}"),
            read = pipe.read_exact(&mut begun) => assert_eq!(read.unwrap(), 6),
        }
        // The end is there when the last writer is gone.
        let limit = Duration::from_secs(10);
        assert_eq!(tokio::time::timeout(limit, pipe.read(&mut begun)).await.unwrap().unwrap(), 0);
    }
}
