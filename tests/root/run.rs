//! The test command itself: what it counts, and what it notices. Cargo is played by a script.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use tests::command::{Command, Output};
use tests::files;
use tests::host::Host;

/// A repository with nothing but the test command, in a host.
struct Repository {
    host: Host,
    dir: PathBuf,
}

impl Repository {
    fn new() -> Result<Self> {
        let host = Host::new()?;
        let dir = host.dir().join("repository");
        files::put_program(dir.join("tests/run"), files::get(concat!(env!("CARGO_MANIFEST_DIR"), "/run"))?)?;
        Ok(Self { host, dir })
    }

    /// Prepares `tests/run ARGS` where cargo, when it is to run tests, is this script.
    fn run(&self, args: &[&str], cargo: &str) -> Result<Command> {
        let script = format!("#!/bin/bash\ncase \"$*\" in *--no-run*) exit 0 ;; esac\n{cargo}\n");
        files::put_program(self.dir.join("bin/cargo"), script)?;
        let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", self.dir.join("bin").display());
        let command = self.host.command(self.dir.join("tests/run")).args(args).env("PATH", path);
        Ok(command.env("SHIM_TEST_TMP", self.host.dir().join("tmp")))
    }
}

fn last_line(output: &Output) -> &str {
    output.stdout.lines().next_back().unwrap_or_default()
}

#[test]
fn results_of_all_binaries_add_up() -> Result<()> {
    let repository = Repository::new()?;
    let said = repository.run(&["plain"], "echo 'test result: ok. 3 passed; 0 failed; 1 ignored'; echo 'noise test result: ok. 4 passed; 0 failed'")?.run()?;
    assert_eq!(last_line(&said), "7 passed, 0 failed");
    let script = "echo 'test a ... FAILED'; printf 'failures:\\n\\nwhy a failed\\n\\nfailures:\\n    a\\n'; \
                  echo 'test result: FAILED. 3 passed; 2 failed;'; exit 101";
    let said = repository.run(&["plain"], script)?.fails_with(1)?;
    assert_eq!(last_line(&said), "3 passed, 2 failed");
    ensure!(said.stdout.contains("\nwhy a failed\n"), "{said}");
    Ok(())
}

#[test]
fn a_tier_that_did_not_run_has_failed() -> Result<()> {
    let repository = Repository::new()?;
    for (script, expected) in [
        ("echo 'error: could not compile'; exit 101", "0 passed, 1 failed"),
        ("echo 'test result: ok. 3 passed; 0 failed;'; kill -9 $$", "3 passed, 1 failed"),
        ("exit 0", "0 passed, 1 failed"),
    ] {
        let said = repository.run(&["plain"], script)?.fails_with(1)?;
        assert_eq!(last_line(&said), expected, "{said}");
    }
    Ok(())
}

#[test]
fn what_is_left_behind_is_a_failure_and_goes() -> Result<()> {
    let repository = Repository::new()?;
    let before = repository.host.traces()?;
    let script = "setsid sleep 1000 </dev/null & touch $TMPDIR/forgotten; mount -t tmpfs none /mnt; ip link add left0 type bridge; \
                  nft add table ip left; h=$(awk '/ - cgroup/ { print $5 }' /proc/self/mountinfo | head -n1); \
                  mkdir -p $h/shim-test-1/pod; echo 'test result: ok. 1 passed; 0 failed;'";
    let said = repository.run(&["plain"], script)?.fails_with(1)?;
    assert_eq!(last_line(&said), "1 passed, 1 failed");
    let expected =
        ["sleep 1000", "/forgotten", "mount /mnt tmpfs", "link left0", "table ip left", "/shim-test-1\n"];
    for part in expected {
        ensure!(said.stdout.contains(part), "{part:?} is missing in {said}");
    }
    // Mounts, links and tables are somebody's to look at; the rest is ours beyond doubt.
    let left = repository.host.traces()?.since(&before).join("\n");
    ensure!(!left.contains("sleep") && !left.contains("shim-test-1"), "{left}");
    Ok(())
}

#[test]
fn unknown_tiers_are_refused_before_anything_runs() -> Result<()> {
    let repository = Repository::new()?;
    let said = repository.run(&["plain", "everything"], "touch ran")?.fails_with(2)?;
    ensure!(said.stderr.contains("no tier is called 'everything'"), "{said}");
    ensure!(!repository.dir.join("ran").exists());
    Ok(())
}
