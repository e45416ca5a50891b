//! `RUN`: what has to be in the root filesystem before, and must not be left in it after.

use rustix::fs::{AtFlags, CWD, FileType, Timespec, Timestamps, utimensat};

use super::mkdir::{NewDirectory, make_all};
use crate::cancel::Cancel;
use crate::error::{BuildError, IoDoing, Kind, Result};
use crate::event::ShownStep;
use crate::host::{Exit, Host, Process};
use crate::plan::RunStep;
use crate::rooted::{Inside, Root, kind};
use crate::users;

/// Files that are mounted over while a step runs. Where the image has none, the runtime makes an empty one.
const MOUNTED_FILES: [&str; 2] = ["/etc/resolv.conf", "/etc/hosts"];

/// Runs the command of a step in a root filesystem.
pub(crate) fn run(
    host: &dyn Host,
    root: &Root,
    step: &RunStep,
    shown: &ShownStep<'_>,
    cancel: &Cancel,
) -> Result<()> {
    let user = users::process_user(root, &step.user)?;
    let cwd = root.resolve(step.cwd.as_bytes())?;
    make_all(root, &cwd, NewDirectory { owner: (user.uid, user.gid), ..NewDirectory::DEFAULT })?;
    let stubs = missing_stubs(root)?;
    let process = Process {
        root: root.path().to_path_buf(),
        args: step.args.clone(),
        env: step.env.iter().chain(&step.proxies).cloned().collect(),
        cwd: step.cwd.clone(),
        user,
    };
    let exit = host.run(&process, &|stream, data| shown.output(stream, data), cancel);
    let exit = exit.map_err(|error| BuildError::host("cannot run the step", &error))?;
    stubs.iter().try_for_each(|stub| remove_stub(root, stub))?;
    match exit {
        Exit::Code(0) => Ok(()),
        Exit::Cancelled => Err(BuildError::cancelled()),
        Exit::Code(code) => {
            let command = step.args.join(" ");
            let message = format!("process {command:?} did not complete successfully: exit code: {code}");
            Err(BuildError::new(Kind::Command(code), message))
        }
    }
}

fn missing_stubs(root: &Root) -> Result<Vec<Inside>> {
    let mut missing = Vec::new();
    for path in MOUNTED_FILES {
        let resolved = root.resolve(path.as_bytes())?;
        if root.stat(&resolved)?.is_none() {
            missing.push(resolved);
        }
    }
    Ok(missing)
}

/// Removes a file that the runtime made, if it is still empty, and keeps its directory's time (as BuildKit does, so that
/// the same step makes the same layer).
fn remove_stub(root: &Root, stub: &Inside) -> Result<()> {
    let is_empty_file = |stat: &rustix::fs::Stat| kind(stat) == FileType::RegularFile && stat.st_size == 0;
    if !root.stat(stub)?.as_ref().is_some_and(is_empty_file) {
        return Ok(());
    }
    let Some(parent) = root.stat(&stub.parent())? else { return Ok(()) };
    let full = root.full(stub);
    std::fs::remove_file(&full).doing("remove", &full)?;
    let time =
        |seconds: i64, nanoseconds: u64| Timespec { tv_sec: seconds, tv_nsec: nanoseconds.cast_signed() };
    let times = Timestamps {
        last_access: time(parent.st_atime, parent.st_atime_nsec),
        last_modification: time(parent.st_mtime, parent.st_mtime_nsec),
    };
    let directory = root.full(&stub.parent());
    utimensat(CWD, &directory, &times, AtFlags::empty()).doing("set times of", &directory)
}
