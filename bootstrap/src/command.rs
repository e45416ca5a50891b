//! Every program of the machine that is run to its end: its command line is here, and what it prints is read here.

pub(crate) mod kubeadm;
pub(crate) mod tied;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::error::{Error, IoContext, Result};
use crate::network::foreign::Ruleset;
use crate::network::subnet::Route;
use crate::process::Identity;

/// How long a program may take. They all look at the kernel or tell it something.
const LIMIT: Duration = Duration::from_secs(20);
/// How much output is read: the rules of a machine with many services are the largest.
const MAX_OUTPUT_BYTES: u64 = 64 << 20;
/// How much of standard error is shown.
const MAX_SHOWN_BYTES: usize = 2000;
/// Directories of programs that an ordinary user's PATH lacks.
const SYSTEM_DIRS: &str = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin";

/// Variables by which programs are told of a proxy. Who speaks only to the cluster must not be: kubeadm would write them into the
/// control plane's pods, and the kubelet would ask the proxy for the API server.
pub(crate) const PROXY_VARIABLES: [&str; 8] = [
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
];

/// Returns the search path of programs: the caller's, then the system's.
pub(crate) fn search_path() -> OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    if !path.is_empty() {
        path.push(":");
    }
    path.push(SYSTEM_DIRS);
    path
}

/// Finds a program as a shell would.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let is_program = |path: &PathBuf| {
        path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
    };
    std::env::split_paths(&search_path())
        .filter(|dir| dir.is_absolute())
        .map(|dir| dir.join(name))
        .find(is_program)
}

/// What Linux appends to the path of a program whose file is gone (proc(5), `/proc/PID/exe`).
const DELETED: &str = " (deleted)";

/// Returns the path of this program, for further processes of it. Where it was replaced by another version meanwhile,
/// that one serves.
pub(crate) fn own_program() -> Result<PathBuf> {
    let path = std::env::current_exe().at("find", "the running program")?;
    Ok(if path.exists() { path } else { without_mark(&path) })
}

fn without_mark(path: &Path) -> PathBuf {
    let bytes = path.as_os_str().as_bytes();
    OsStr::from_bytes(bytes.strip_suffix(DELETED.as_bytes()).unwrap_or(bytes)).into()
}

/// Where a program runs.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Place {
    /// In the namespaces of the machine, as the lifecycle service does.
    Machine,
    /// In those of the box, which this process holds.
    Box(Identity),
}

/// One run of a program.
#[derive(Debug)]
struct Run {
    words: Vec<OsString>,
    input: Option<String>,
}

impl Run {
    fn new(words: &[&str]) -> Self {
        Self { words: words.iter().map(OsString::from).collect(), input: None }
    }

    fn at(mut self, place: Place) -> Result<Self> {
        if let Place::Box(holder) = place {
            let mut words = vec![own_program()?.into_os_string()];
            words.extend(enter_words(holder));
            words.push("--".into());
            words.append(&mut self.words);
            self.words = words;
        }
        Ok(self)
    }

    fn input(self, input: impl Into<String>) -> Self {
        Self { input: Some(input.into()), ..self }
    }

    /// Runs it and returns its standard output.
    async fn output(self) -> Result<Vec<u8>> {
        let line = self.words.join(OsStr::new(" ")).to_string_lossy().into_owned();
        let failed = |outcome: String, stderr: &str| Error::Command {
            line: line.clone(),
            outcome,
            stderr: stderr.trim().chars().take(MAX_SHOWN_BYTES).collect(),
        };
        let (program, arguments) =
            self.words.split_first().ok_or_else(|| failed("names no program".into(), ""))?;
        let mut child = tokio::process::Command::new(program)
            .args(arguments)
            .env("PATH", search_path())
            .env("LC_ALL", "C")
            .stdin(if self.input.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| failed(format!("cannot be started: {error}"), ""))?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let write = async {
            if let (Some(mut stdin), Some(input)) = (stdin, self.input) {
                // A program that does not read its input says by its status what it thinks of it.
                stdin.write_all(input.as_bytes()).await.ok();
            }
        };
        let all = async { tokio::join!(write, read(stdout), read(stderr), child.wait()) };
        let Ok(((), stdout, stderr, status)) = tokio::time::timeout(LIMIT, all).await else {
            return Err(failed(format!("did not end within {LIMIT:?}"), ""));
        };
        let status = status.map_err(|error| failed(format!("cannot be waited for: {error}"), ""))?;
        if status.success() {
            return Ok(stdout);
        }
        Err(failed(format!("failed ({status})"), &String::from_utf8_lossy(&stderr)))
    }

    async fn text(self) -> Result<String> {
        Ok(String::from_utf8_lossy(&self.output().await?).into_owned())
    }

    async fn json<T: serde::de::DeserializeOwned>(self) -> Result<T> {
        let line = self.words.join(OsStr::new(" ")).to_string_lossy().into_owned();
        let output = self.output().await?;
        // Names and comments are of any bytes.
        serde_json::from_str(&String::from_utf8_lossy(&output)).map_err(|error| Error::Command {
            line,
            outcome: "printed something else than expected".into(),
            stderr: error.to_string(),
        })
    }
}

async fn read(pipe: Option<impl tokio::io::AsyncRead + Unpin>) -> Vec<u8> {
    let mut output = Vec::new();
    if let Some(pipe) = pipe {
        // What is cut off or lost does not parse, which is said then.
        pipe.take(MAX_OUTPUT_BYTES).read_to_end(&mut output).await.ok();
    }
    output
}

/// Returns the arguments with which this program enters the box and becomes another one.
pub(crate) fn enter_words(holder: Identity) -> Vec<OsString> {
    let words = ["enter".to_owned(), "--holder".into(), holder.pid.to_string()];
    let ticks = ["--holder-start".to_owned(), holder.start_ticks.to_string()];
    words.into_iter().chain(ticks).map(OsString::from).collect()
}

/// Runs commands of `ip`, one a line; the first that fails ends them.
pub(crate) async fn ip(place: Place, commands: &str) -> Result<()> {
    Run::new(&["ip", "-batch", "-"]).input(commands).at(place)?.output().await.map(drop)
}

/// Returns what `ip -json` prints of one link and its addresses; `None` if there is no such link.
pub(crate) async fn link(place: Place, name: &str) -> Result<Option<serde_json::Value>> {
    let links: Vec<serde_json::Value> =
        Run::new(&["ip", "-json", "address", "show"]).at(place)?.json().await?;
    Ok(links.into_iter().find(|link| link["ifname"] == name))
}

/// Lists the machine's routes, of all tables.
pub(crate) async fn routes() -> Result<Vec<Route>> {
    Run::new(&["ip", "-json", "-4", "route", "show", "table", "all"]).json().await
}

/// Runs a script of `nft` as one transaction.
pub(crate) async fn nft(place: Place, script: &str) -> Result<()> {
    Run::new(&["nft", "-f", "-"]).input(script).at(place)?.output().await.map(drop)
}

/// Reads all rules of the machine.
pub(crate) async fn ruleset() -> Result<Ruleset> {
    Run::new(&["nft", "--json", "list", "ruleset"]).json().await
}

/// Reads the rules of one table.
///
/// # Errors
/// There is none.
pub(crate) async fn table(place: Place, name: &str) -> Result<Ruleset> {
    Run::new(&["nft", "--json", "list", "table", "inet", name]).at(place)?.json().await
}

/// Lists the NAT rules of iptables, for which the kernel must have them.
pub(crate) async fn iptables_nat() -> Result<()> {
    Run::new(&["iptables", "--wait", "--table", "nat", "--list-rules"]).output().await.map(drop)
}

/// Returns a user's number.
pub(crate) async fn user_id(name: &str) -> Result<u32> {
    let said = Run::new(&["id", "-u", "--", name]).text().await?;
    said.trim()
        .parse()
        .map_err(|_| Error::invalid(format!("user {name:?}"), format!("id said {:?}", said.trim())))
}

/// Who a user is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) home: PathBuf,
}

/// Asks for a user; that there is none, for which getent(1) ends with 2, is an answer.
const ASK_FOR_USER: &str = "getent passwd -- \"$1\" || [ $? = 2 ]";

/// Returns who a user is, by name or number; `None` if there is no such user.
pub(crate) async fn account(name: &str) -> Result<Option<Account>> {
    let said = Run::new(&["sh", "-c", ASK_FOR_USER, "sh", name]).text().await?;
    if said.is_empty() {
        return Ok(None);
    }
    parse_account(&said)
        .map(Some)
        .ok_or_else(|| Error::invalid(format!("user {name:?}"), format!("getent said {:?}", said.trim())))
}

/// Reads a line of passwd(5).
fn parse_account(line: &str) -> Option<Account> {
    let fields: Vec<&str> = line.trim_end().split(':').collect();
    let [_, _, uid, gid, _, home, _] = fields[..] else { return None };
    let home = PathBuf::from(home);
    Some(Account { uid: uid.parse().ok()?, gid: gid.parse().ok()?, home })
        .filter(|found| found.home.is_absolute())
}

/// Returns what a containerd says of its version.
pub(crate) async fn containerd_version(program: &Path) -> Result<String> {
    Run { words: vec![program.into(), "--version".into()], input: None }.text().await
}

/// Tries what the kernel can do, in a network namespace that ends with the trial; one problem a line.
pub(crate) async fn probe() -> Result<String> {
    Run { words: vec![own_program()?.into(), "probe".into()], input: None }.text().await
}

/// Prepares `apt-get`, whose progress the user sees, and which asks nothing.
pub(crate) fn apt_get(words: &[&str]) -> tokio::process::Command {
    let mut command = tokio::process::Command::new("apt-get");
    command
        .args(words)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("PATH", search_path())
        .stdin(Stdio::null());
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_was_replaced_is_found() {
        for (path, expected) in [
            ("/b/bootstrap (deleted)", "/b/bootstrap"),
            ("/b/bootstrap", "/b/bootstrap"),
            ("/(deleted)", "/(deleted)"),
        ] {
            assert_eq!(without_mark(Path::new(path)), Path::new(expected));
        }
    }

    #[tokio::test]
    async fn failures_show_line_status_and_words() {
        let error =
            Run::new(&["sh", "-c", "cat; echo why >&2; exit 3"]).input("x").output().await.unwrap_err();
        assert_eq!(error.to_string(), "`sh -c cat; echo why >&2; exit 3` failed (exit status: 3): why");
        let error = Run::new(&["no-such-program-here"]).output().await.unwrap_err();
        assert!(error.to_string().starts_with("`no-such-program-here` cannot be started"), "{error}");
        assert_eq!(Run::new(&["cat"]).input("in").text().await.unwrap(), "in");
        let error = Run::new(&["echo", "x"]).json::<Vec<u8>>().await.unwrap_err();
        assert!(error.to_string().contains("something else than expected"), "{error}");
    }

    #[tokio::test]
    async fn users_are_known_to_the_machine() {
        let root = account("root").await.unwrap().unwrap();
        assert_eq!((root.uid, root.gid), (0, 0));
        assert_eq!(account("0").await.unwrap(), Some(root));
        for name in ["no-such-user-here", "--help"] {
            assert_eq!(account(name).await.unwrap(), None, "{name:?}");
        }
        for line in ["", "a:b", "ann:x:1000:1000:Ann:home:/bin/sh", "ann:x:-1:1000:Ann:/home/ann:/bin/sh"] {
            assert_eq!(parse_account(line), None, "{line}");
        }
        let ann = parse_account("ann:x:1000:1001:Ann,,,:/home/ann:/bin/sh\n").unwrap();
        assert_eq!(ann, Account { uid: 1000, gid: 1001, home: "/home/ann".into() });
    }

    #[test]
    fn programs_are_found_as_a_shell_finds_them() {
        assert!(find("sh").unwrap().is_absolute());
        assert_eq!(find("no-such-program-here"), None);
        // A directory is no program.
        assert_eq!(find("."), None);
    }
}
