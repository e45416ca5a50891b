//! Running programs: what they were given, what they said, how long they took.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// How long a program may run when nothing else was said.
const LIMIT: Duration = Duration::from_secs(120);

/// The most of a stream that a failure message shows, in bytes from its end.
const SHOWN: usize = 16 * 1024;

/// A program to run. It reads nothing, unless [`Command::input`] says what.
///
/// Output goes to unnamed files, not pipes: a program that leaves a daemon behind is not waited for any longer
/// than it runs itself.
#[derive(Debug)]
pub struct Command {
    pub(crate) inner: std::process::Command,
    shown: Vec<OsString>,
    input: Vec<u8>,
    limit: Duration,
}

impl Command {
    /// Prepares a program of this machine, with the environment of the tests.
    ///
    /// For programs in a [`Host`](crate::host::Host) use its `command`.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self::wrapped(std::process::Command::new(program.as_ref()), program.as_ref())
    }

    /// Prepares a program that `inner` starts in some roundabout way; failures name `program`.
    pub(crate) fn wrapped(inner: std::process::Command, program: &OsStr) -> Self {
        Self { inner, shown: vec![program.to_owned()], input: Vec::new(), limit: LIMIT }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.inner.arg(arg.as_ref());
        self.shown.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        args.into_iter().fold(self, Self::arg)
    }

    /// Sets a variable of the environment.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.inner.env(name, value);
        self
    }

    /// Gives the program this on its standard input.
    #[must_use]
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = bytes.into();
        self
    }

    /// Lets the program run this long instead of two minutes; then it is killed, and that is a failure.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Runs the program, whatever its exit status.
    ///
    /// # Errors
    /// It could not be started, or it ran into its limit.
    pub fn output(mut self) -> Result<Output> {
        let command = self.line();
        let (mut stdout, mut stderr) = (capture()?, capture()?);
        self.inner.stdin(input_file(&self.input)?).stdout(stdout.try_clone()?).stderr(stderr.try_clone()?);
        let start = Instant::now();
        let mut child = self.inner.spawn().with_context(|| format!("start `{command}`"))?;
        let ended = wait_for_end(&child, self.limit)?;
        let elapsed = start.elapsed();
        if !ended {
            child.kill().with_context(|| format!("kill `{command}`"))?;
        }
        let status = child.wait().with_context(|| format!("wait for `{command}`"))?;
        let output =
            Output { command, status, elapsed, stdout: all(&mut stdout)?, stderr: all(&mut stderr)? };
        if ended { Ok(output) } else { Err(anyhow!("killed after {:?}: {output}", self.limit)) }
    }

    /// Runs the program, which must succeed.
    ///
    /// # Errors
    /// As [`Command::output`]; any exit status but 0, with everything the program said.
    pub fn run(self) -> Result<Output> {
        let output = self.output()?;
        if output.status.success() { Ok(output) } else { Err(anyhow!("{output}")) }
    }

    /// Runs the program, which must succeed, and returns its standard output without white space at the ends.
    ///
    /// # Errors
    /// As [`Command::run`].
    pub fn stdout(self) -> Result<String> {
        Ok(self.run()?.stdout.trim().to_owned())
    }

    /// Runs the program, which must succeed, and reads its standard output as JSON.
    ///
    /// # Errors
    /// As [`Command::run`]; text that is not JSON.
    pub fn json(self) -> Result<serde_json::Value> {
        let output = self.run()?;
        serde_json::from_str(&output.stdout).with_context(|| format!("not JSON: {output}"))
    }

    /// Runs the program, which must end with this exit code.
    ///
    /// # Errors
    /// As [`Command::output`]; any other way to end.
    pub fn fails_with(self, code: i32) -> Result<Output> {
        let output = self.output()?;
        match output.status.code() {
            Some(found) if found == code => Ok(output),
            _ => bail!("expected exit code {code}: {output}"),
        }
    }

    /// Starts the program with standard input and both outputs as given; the caller owns what comes of it.
    pub(crate) fn start(mut self, log: &File) -> Result<Child> {
        let command = self.line();
        self.inner.stdin(input_file(&self.input)?).stdout(log.try_clone()?).stderr(log.try_clone()?);
        self.inner.spawn().with_context(|| format!("start `{command}`"))
    }

    /// Returns the command as one would type it, for messages.
    pub fn line(&self) -> String {
        let words: Vec<String> = self.shown.iter().map(|word| quoted(&word.to_string_lossy())).collect();
        words.join(" ")
    }
}

/// How a program ended, and what it said.
#[derive(Debug)]
pub struct Output {
    /// The command as one would type it.
    pub command: String,
    /// How it ended.
    pub status: ExitStatus,
    /// From just before the start to the end, with the few milliseconds of entering a host.
    pub elapsed: Duration,
    /// Standard output; what is not UTF-8 is replaced.
    pub stdout: String,
    /// Standard error; what is not UTF-8 is replaced.
    pub stderr: String,
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {} after {:?}", self.command, self.status, self.elapsed)?;
        for (name, text) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            if !text.trim().is_empty() {
                write!(f, "\n--- {name}\n{}", tail(text, SHOWN).trim_end())?;
            }
        }
        Ok(())
    }
}

/// Returns the end of a text, at most this many bytes, with a mark where something was left out.
pub(crate) fn tail(text: &str, length: usize) -> String {
    let mut from = text.len().saturating_sub(length);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    if from == 0 { text.to_owned() } else { format!("[… {from} bytes]\n{}", &text[from..]) }
}

/// Waits for the end of a child without reaping it, so that its pid stays ours; false when the limit came first.
pub(crate) fn wait_for_end(child: &Child, limit: Duration) -> Result<bool> {
    let pid = Pid::from_child(child);
    let handle = pidfd_open(pid, PidfdFlags::empty()).context("pidfd_open")?;
    let deadline = Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).context("time limit")?;
        match poll(&mut [PollFd::from_borrowed_fd(handle.as_fd(), PollFlags::IN)], Some(&left)) {
            Ok(ready) => return Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("poll a pidfd"),
        }
    }
}

/// Finds a program in PATH and in the directories where Debian keeps those of root.
///
/// # Errors
/// The name, when it is in none of them.
pub fn find(program: &str) -> Result<std::path::PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':')
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"])
        .map(|dir| Path::new(dir).join(program))
        .find(|candidate| candidate.is_file())
        .with_context(|| format!("`{program}` is not installed (tests/run installs what is missing)"))
}

fn capture() -> Result<File> {
    tempfile::tempfile().context("make a file for a program's output")
}

fn input_file(bytes: &[u8]) -> Result<Stdio> {
    if bytes.is_empty() {
        return Ok(Stdio::null());
    }
    let mut file = tempfile::tempfile().context("make a file for a program's input")?;
    file.write_all(bytes).and_then(|()| file.rewind()).context("write a program's input")?;
    Ok(file.into())
}

fn all(file: &mut File) -> Result<String> {
    let mut bytes = Vec::new();
    file.rewind().and_then(|()| file.read_to_end(&mut bytes)).context("read a program's output")?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Command {
        Command::new("sh").args(["-c", script])
    }

    #[test]
    fn a_failure_tells_everything() {
        let failure = sh("echo out; echo err >&2; exit 3").run().unwrap_err().to_string();
        let (first, rest) = failure.split_once('\n').unwrap();
        assert!(
            first.starts_with("`sh -c 'echo out; echo err >&2; exit 3'`: exit status: 3 after "),
            "{first}"
        );
        assert_eq!(rest, "--- stdout\nout\n--- stderr\nerr");
    }

    #[test]
    fn exit_codes_are_told_apart() {
        assert_eq!(sh("exit 2").fails_with(2).unwrap().status.code(), Some(2));
        assert!(sh("exit 0").fails_with(2).is_err());
        assert!(sh("kill -9 $$").fails_with(9).is_err());
    }

    #[test]
    fn input_and_output_pass() {
        assert_eq!(Command::new("cat").input("a b\n").stdout().unwrap(), "a b");
        assert_eq!(Command::new("cat").stdout().unwrap(), "");
        assert_eq!(sh("echo '{\"a\": 1}'").json().unwrap()["a"], 1);
    }

    #[test]
    fn a_program_over_its_limit_is_killed() {
        let start = Instant::now();
        let failure = sh("echo first; exec sleep 60").limit(Duration::from_millis(200)).run().unwrap_err();
        assert!(start.elapsed() < Duration::from_secs(30));
        let failure = failure.to_string();
        assert!(failure.starts_with("killed after 200ms: `sh -c"), "{failure}");
        assert!(failure.ends_with("--- stdout\nfirst"), "{failure}");
    }

    #[test]
    fn a_daemon_left_behind_is_not_waited_for() {
        let output = sh("sleep 60 & echo $!").run().unwrap();
        assert!(output.elapsed < Duration::from_secs(30));
        Command::new("kill").arg(output.stdout.trim()).run().unwrap();
    }

    #[test]
    fn the_end_of_a_long_text_is_kept() {
        assert_eq!(tail("short", 10), "short");
        assert_eq!(tail("0123456789", 4), "[… 6 bytes]\n6789");
        assert_eq!(tail("aé", 1), "[… 3 bytes]\n");
    }

    #[test]
    fn words_are_quoted_as_a_shell_wants_them() {
        assert_eq!(Command::new("a").args(["b c", "", "it's", "x=1"]).line(), r"a 'b c' '' 'it'\''s' x=1");
    }
}
