//! `--install`, with the real apt and dpkg, on a machine whose files are an overlay of this one's.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use tests::command::Command;
use tests::host::Host;
use tests::product;

const MACHINE: &str = include_str!("install.sh");

/// A machine without nft.
struct Machine {
    host: Host,
    root: PathBuf,
    programs: PathBuf,
}

impl Machine {
    fn new() -> Result<Self> {
        let host = Host::new()?;
        let programs =
            product::program("bootstrap")?.parent().context("bootstrap is in no directory")?.to_path_buf();
        let dir = host.dir().join("machine");
        host.command("sh").args(["-c", MACHINE, "install.sh"]).arg(&dir).arg(&programs).run()?;
        Ok(Self { host, root: dir.join("root"), programs })
    }

    fn command(&self, program: &str) -> Command {
        self.host.command("chroot").arg(&self.root).arg(program)
    }

    fn sh(&self, script: &str) -> Result<String> {
        self.command("sh").args(["-euc", script]).stdout()
    }

    /// Prepares what `shimctl up --install` runs first.
    fn start(&self) -> Command {
        self.command(&self.programs.join("bootstrap").to_string_lossy()).args([
            "start",
            "--no-kubernetes",
            "--install",
        ])
    }
}

#[test]
fn what_is_missing_is_installed_and_nothing_else_happens() -> Result<()> {
    let machine = Machine::new()?;
    let packages = machine.sh("dpkg-query --show")?;
    ensure!(packages.lines().any(|line| line.starts_with("runc\t")), "{packages}");

    // Nothing is removed: apt would have to.
    machine.sh("cp /repository/Packages-98 /repository/Packages")?;
    let refused = machine.start().fails_with(1)?;
    ensure!(refused.stderr.contains("apt-get") && refused.stderr.contains("nftables"), "{refused}");
    assert_eq!(
        machine.sh("dpkg-query --show; ls /usr/sbin/policy-rc.d /run/service 2>/dev/null || true")?,
        packages
    );

    machine.sh("cp /repository/Packages-99 /repository/Packages")?;
    machine.start().run()?;
    let changed: Vec<String> = machine.sh("dpkg-query --show")?.lines().map(str::to_owned).collect();
    let changed: Vec<&String> =
        changed.iter().filter(|line| !packages.lines().any(|known| known == *line)).collect();
    assert_eq!(changed, ["nftables\t99"]);
    // The package asked for its service to be started; it was not, and only then: the next one who asks is heard.
    assert_eq!(machine.sh("ls /usr/sbin/policy-rc.d /run/service 2>/dev/null || true")?, "");
    machine.sh("invoke-rc.d shim-test start")?;
    assert_eq!(machine.sh("cat /run/service")?, "start");

    // The service that was asked for runs, and there is nothing to install any more.
    machine.start().run()?;
    machine.command(&machine.programs.join("shimctl").to_string_lossy()).arg("down").run()?;
    assert_eq!(machine.sh("ls /run/shim 2>/dev/null || true")?, "");
    Ok(())
}
