//! Builds that somebody or something ends in the middle.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use tests::daemon::Signal;
use tests::{eventually, files};

use super::{STEP_LIMIT, Site, Steps};

const END_LIMIT: Duration = Duration::from_secs(10);

/// Steps that end only when somebody serves port 8110.
const DOCKERFILE: &str = "FROM busybox\nRUN echo before > /before\n\
    RUN echo half > /half; until wget -q -O /answer http://127.0.0.1:8110/; do sleep 0.1; done\nRUN cat /answer > /copy\n";
const WAITING: &str = "until wget";

#[test]
fn ctrl_c_ends_the_running_step() -> Result<()> {
    let site = Site::new()?;
    site.shimd.shimctl(&["pull", "busybox"])?.run()?;
    let before = site.host.traces()?;
    site.put("Dockerfile", DOCKERFILE)?;
    let mut build = site.start("build", &["-t", "app"])?;
    site.wait_for_program(WAITING)?;
    build.signal(Signal::INT)?;
    let status = build.wait(END_LIMIT)?;
    assert_eq!(status.code(), Some(130), "{}", build.log()?);
    let log = build.log()?;
    ensure!(log.contains("CANCELED") && log.contains("ERROR: canceled"), "{log}");
    assert_eq!(site.host.traces()?.since(&before), [""; 0]);
    site.assert_nothing_is_left()?;
    // All that there is now is the layer of the step before it.
    let usage = site.shimd.shimctl(&["df", "--format", "{{.Type}}: {{.TotalCount}}"])?.stdout()?;
    ensure!(usage.contains("Build Cache: 1\n") || usage.ends_with("Build Cache: 1"), "{usage}");
    // A client that is killed is gone as well: the step ends without its being told.
    let mut build = site.start("killed", &[])?;
    site.wait_for_program(WAITING)?;
    build.kill()?;
    eventually(END_LIMIT, "the step to end", || {
        ensure!(site.host.traces()?.since(&before).is_empty());
        Ok(())
    })?;
    eventually(END_LIMIT, "everything to be cleared away", || {
        let left = site.leftovers()?;
        ensure!(left.is_empty(), "{left:?}");
        Ok(())
    })?;
    site.goes_on()
}

#[test]
fn a_killed_daemon_leaves_a_build_that_can_go_on() -> Result<()> {
    let mut site = Site::new()?;
    site.put("Dockerfile", DOCKERFILE)?;
    let mut build = site.start("build", &["-t", "app"])?;
    site.wait_for_program(WAITING)?;
    site.shimd.kill_and_restart()?;
    ensure!(!build.wait(END_LIMIT)?.success(), "{}", build.log()?);
    let left = site.programs()?;
    ensure!(!left.iter().any(|line| line.contains(WAITING)), "{left:?}");
    site.assert_nothing_is_left()?;
    site.goes_on()?;

    // In the middle of a large copy. It is killed as soon as something of the file is in the new layer.
    site.sh("head -c 200000000 /dev/zero | tr '\\0' x > large; echo small > small")?;
    site.put("Dockerfile", "FROM busybox\nCOPY small /\nCOPY large /\n")?;
    let mut build = site.start("copy", &["-t", "large"])?;
    let workspaces = site.shimd.root().join("store/t");
    eventually(STEP_LIMIT, "the copy to begin", || {
        ensure!(has_part(&workspaces)?, "nothing of it is there");
        Ok(())
    })?;
    site.shimd.kill_and_restart()?;
    build.wait(END_LIMIT)?;
    site.assert_nothing_is_left()?;
    let again = Steps::of(&site.build(&["-t", "large"])?.run()?);
    assert_eq!(again.ends()[0], "CACHED", "{again:?}");
    let size = site.shimd.shimctl(&["images", "large", "--format", "{{.Size}}"])?.stdout()?;
    ensure!(size.starts_with("20"), "{size}");
    assert_eq!(site.saved("large")?.text("large")?.len(), 200_000_000);
    site.assert_nothing_is_left()
}

/// Tells whether a workspace has a part of the large file.
fn has_part(workspaces: &Path) -> Result<bool> {
    Ok(files::tree(workspaces).unwrap_or_default().iter().any(|path| path.ends_with("large")))
}

impl Site {
    /// Lets the steps of [`DOCKERFILE`] end, and builds it.
    fn goes_on(&self) -> Result<()> {
        files::put(self.host.dir().join("www/index.html"), "answer\n")?;
        let www = self.host.dir().join("www");
        let server =
            self.host.command("busybox").args(["httpd", "-f", "-p", "127.0.0.1:8110", "-h"]).arg(&www);
        let _server = self.host.daemon("httpd", server)?;
        let steps = Steps::of(&self.build(&["-t", "app"])?.run()?);
        assert_eq!(steps.ends(), ["CACHED", "DONE", "DONE"], "{steps:?}");
        assert_eq!(self.saved("app")?.text("copy")?, "answer\n");
        self.assert_nothing_is_left()
    }
}
