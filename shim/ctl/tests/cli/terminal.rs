//! The program on a terminal, and under signals.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::world::World;

/// A program whose standard streams are a terminal.
struct Session {
    child: Child,
    terminal: File,
    seen: String,
}

impl Session {
    fn start(mut command: Command, columns: u16) -> Self {
        let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&controller).unwrap();
        unlockpt(&controller).unwrap();
        tcsetwinsize(&controller, Winsize { ws_row: 40, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 })
            .unwrap();
        let name = ptsname(&controller, Vec::new()).unwrap();
        let end = File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
        let stream = || Stdio::from(OwnedFd::from(end.try_clone().unwrap()));
        let child =
            command.env("TERM", "xterm").stdin(stream()).stdout(stream()).stderr(stream()).spawn().unwrap();
        Self { child, terminal: File::from(controller), seen: String::new() }
    }

    /// Reads until a text has come.
    fn wait_for(&mut self, text: &str) {
        while !self.seen.contains(text) {
            assert!(self.read(), "{text:?} did not come, but {:?}", self.seen);
        }
    }

    /// Reads some; returns whether there may be more.
    fn read(&mut self) -> bool {
        let mut block = [0; 4096];
        // A terminal whose other end is closed answers with an error.
        let size = self.terminal.read(&mut block).unwrap_or(0);
        self.seen.push_str(&String::from_utf8_lossy(&block[..size]));
        size > 0
    }

    fn interrupt(&self) {
        interrupt(&self.child);
    }

    /// Reads to the end; returns what is on the screen then, and the exit code.
    fn finish(mut self) -> (Vec<String>, Option<i32>) {
        while self.read() {}
        let code = self.child.wait().unwrap().code();
        (screen(&self.seen), code)
    }
}

fn interrupt(child: &Child) {
    kill_process(Pid::from_child(child), Signal::INT).unwrap();
}

/// Plays what was written to a terminal, as far as the program uses its possibilities.
fn screen(written: &str) -> Vec<String> {
    let mut lines: Vec<Vec<char>> = vec![Vec::new()];
    let (mut row, mut column) = (0, 0);
    let mut rest = written;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '\n' => {
                row += 1;
                lines.resize(lines.len().max(row + 1), Vec::new());
            }
            '\r' => column = 0,
            '\x1b' => {
                let end = rest.find(|c: char| c.is_ascii_alphabetic()).unwrap();
                match &rest[end..=end] {
                    "A" => row -= rest[1..end].parse::<usize>().unwrap(),
                    "J" => lines.truncate(row + 1),
                    "K" => lines[row].truncate(column),
                    "m" => {}
                    other => panic!("the program wrote the sequence {other:?}"),
                }
                rest = &rest[end + 1..];
            }
            c => {
                let line = &mut lines[row];
                line.resize(line.len().max(column + 1), ' ');
                line[column] = c;
                column += 1;
            }
        }
    }
    lines.iter().map(|line| line.iter().collect()).collect()
}

/// Leaves out what was measured.
fn untimed(lines: &[String]) -> Vec<String> {
    let header = |line: &String| match line.split_once(" (") {
        Some((_, rest)) if line.starts_with("[+]") => format!("[+] ({rest}"),
        _ => line.clone(),
    };
    lines.iter().map(header).collect()
}

fn args(mut command: Command, args: &[&str]) -> Command {
    command.args(args);
    command
}

#[test]
fn a_build_is_painted() {
    let world = World::new();
    let session = Session::start(args(world.shimctl(), &["build", "-t", "hellodocker", "."]), 60);
    let (lines, code) = session.finish();
    let expected = [
        "[+] (4/4) FINISHED",
        " => [internal] load build definition from Dockerfile   1.2s",
        " => => transferring dockerfile: 241B                   0.0s",
        " => CACHED [build 1/2] FROM docker.io/library/golang:1 1.2s",
        " => => sha256:0123456789ab 2.10MB / 2.10MB             0.0s",
        " => [build 2/2] RUN go build -o hello main.go          1.2s",
        " => exporting to image                                 1.2s",
        " => => exporting layers                                0.0s",
        " => => naming to docker.io/library/hellodocker:latest  0.0s",
        "",
        " 1 warning found:",
        " - FromAsCasing: 'as' and 'FROM' keywords' casing do not match (line 1)",
        "",
    ];
    assert_eq!(untimed(&lines), expected);
    assert_eq!(code, Some(0));
}

#[test]
fn a_failed_build_is_explained() {
    let world = World::new();
    let session = Session::start(args(world.shimctl(), &["build", "--target", "fails", "."]), 80);
    let (lines, code) = session.finish();
    assert!(lines.contains(&" > [4/4] RUN false:".to_owned()), "{lines:#?}");
    assert_eq!(
        lines[lines.len() - 2],
        "ERROR: failed to solve: process \"/bin/sh -c false\" did not complete successfully: exit code: 1"
    );
    assert_eq!(code, Some(1));
}

#[test]
fn a_pull_is_painted() {
    let world = World::new();
    let (lines, code) = Session::start(args(world.shimctl(), &["pull", "alpine"]), 80).finish();
    let expected = [
        "Using default tag: latest",
        "latest: Pulling from library/alpine",
        "111111111111: Pull complete",
        "222222222222: Already exists",
        "333333333333: Pull complete",
        &format!("Digest: sha256:{}", "d".repeat(64)),
        "Status: Downloaded newer image for alpine:3",
        "docker.io/library/alpine:3",
        "",
    ];
    assert_eq!(lines, expected);
    assert_eq!(code, Some(0));
}

#[test]
fn parts_are_painted() {
    let world = World::new();
    let (lines, code) = Session::start(args(world.shimctl(), &["up", "--no-kubernetes"]), 60).finish();
    let lines = untimed(&lines);
    assert_eq!(lines[1], "[+] (3/3)");
    let marks: Vec<_> = lines[2..5]
        .iter()
        .map(|line| line.split_whitespace().take(3).collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(marks, ["✔ box ready", "✔ containerd ready", "✔ shimd ready"]);
    assert_eq!(code, Some(0));
}

#[test]
fn an_archive_is_not_for_a_terminal() {
    let world = World::new();
    let (lines, code) = Session::start(args(world.shimctl(), &["save", "hellodocker"]), 80).finish();
    assert_eq!(lines, ["Error: cowardly refusing to save to a terminal; use the -o flag or redirect", ""]);
    assert_eq!(code, Some(1));
}

#[test]
fn pruning_is_asked_about() {
    let world = World::new();
    for (answer, done) in [("n\n", false), ("y\n", true)] {
        let mut session = Session::start(args(world.shimctl(), &["prune"]), 80);
        session.wait_for("[y/N] ");
        session.terminal.write_all(answer.as_bytes()).unwrap();
        let (lines, code) = session.finish();
        assert_eq!(lines.iter().any(|line| line == "Total reclaimed space: 12.35MB"), done, "{lines:#?}");
        assert_eq!(code, Some(0));
    }
}

#[test]
fn the_first_interrupt_cancels_a_build() {
    let world = World::new();
    let mut session = Session::start(args(world.shimctl(), &["build", "--target", "hangs", "."]), 80);
    session.wait_for("RUN sleep infinity");
    session.interrupt();
    let (lines, code) = session.finish();
    assert!(lines[1].starts_with(" => CANCELED [1/1] RUN sleep infinity"), "{lines:#?}");
    assert_eq!(lines[2..], ["ERROR: canceled", ""]);
    assert_eq!(code, Some(130));
}

#[test]
fn the_second_interrupt_does_not_wait() {
    let world = World::new();
    let mut session = Session::start(args(world.shimctl(), &["build", "--target", "stubborn", "."]), 80);
    session.wait_for("RUN sleep infinity");
    session.interrupt();
    // Painting goes on meanwhile, which shows that the first one was taken.
    let before = session.seen.len();
    while session.seen.len() < before + 2000 {
        assert!(session.read());
    }
    session.interrupt();
    let (lines, code) = session.finish();
    assert_eq!(lines[lines.len() - 2], "ERROR: canceled");
    assert_eq!(code, Some(130));
}

#[test]
fn an_interrupted_start_goes_on() {
    let world = World::new();
    File::create(world.root().join("scenario")).unwrap().write_all(b"hangs").unwrap();
    let mut session = Session::start(args(world.shimctl(), &["up", "--no-kubernetes"]), 80);
    session.wait_for("containerd  starting");
    session.interrupt();
    let (lines, code) = session.finish();
    assert!(lines[lines.len() - 2].contains("interrupted; the work goes on: "), "{lines:#?}");
    assert_eq!(code, Some(130));
}

#[test]
fn logs_are_followed() {
    let world = World::new();
    let path = world.root().join("log/shimd.log");
    File::create(&path).unwrap().write_all(b"one\ntwo\n").unwrap();
    let mut session = Session::start(args(world.shimctl(), &["logs", "shimd", "-f", "-n", "1"]), 80);
    session.wait_for("two\r\n");
    rustix::fs::rename(&path, world.root().join("log/shimd.log.1")).unwrap();
    File::create(&path).unwrap().write_all(b"three\n").unwrap();
    session.wait_for("three\r\n");
    session.interrupt();
    session.child.wait().unwrap();
    assert_eq!(session.seen, "two\r\nthree\r\n");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let world = World::new();
    let output = world.shell("shimctl logs big | head -n 1").output().unwrap();
    // Without the log there is an error; with it, silence.
    assert!(String::from_utf8(output.stderr).unwrap().contains("no log of \"big\""));
    let mut log = File::create(world.root().join("log/big.log")).unwrap();
    log.write_all("line\n".repeat(100_000).as_bytes()).unwrap();
    let output = world.shell("shimctl logs big | head -n 1").output().unwrap();
    assert_eq!((output.stdout.as_slice(), output.stderr.as_slice()), (&b"line\n"[..], &b""[..]));
}
