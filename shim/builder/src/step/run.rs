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

/// Returns what the runtime will make: the files that are missing, each before the directories that are missing above it.
fn missing_stubs(root: &Root) -> Result<Vec<Inside>> {
    let mut missing = Vec::new();
    for path in MOUNTED_FILES {
        let mut resolved = root.resolve(path.as_bytes())?;
        while !resolved.is_root() && root.stat(&resolved)?.is_none() {
            let parent = resolved.parent();
            missing.push(std::mem::replace(&mut resolved, parent));
        }
    }
    Ok(missing)
}

/// Removes what the runtime made, if it is still empty, and keeps the time of the directory that held it (as BuildKit
/// does, so that the same step makes the same layer).
fn remove_stub(root: &Root, stub: &Inside) -> Result<()> {
    let (Some(stat), Some(parent)) = (root.stat(stub)?, root.stat(&stub.parent())?) else { return Ok(()) };
    let full = root.full(stub);
    match kind(&stat) {
        FileType::RegularFile if stat.st_size == 0 => std::fs::remove_file(&full).doing("remove", &full)?,
        FileType::Directory => match std::fs::remove_dir(&full) {
            Err(error) if error.kind() == std::io::ErrorKind::DirectoryNotEmpty => return Ok(()),
            removed => removed.doing("remove", &full)?,
        },
        _ => return Ok(()),
    }
    let time =
        |seconds: i64, nanoseconds: u64| Timespec { tv_sec: seconds, tv_nsec: nanoseconds.cast_signed() };
    let times = Timestamps {
        last_access: time(parent.st_atime, parent.st_atime_nsec),
        last_modification: time(parent.st_mtime, parent.st_mtime_nsec),
    };
    let directory = root.full(&stub.parent());
    utimensat(CWD, &directory, &times, AtFlags::empty()).doing("set times of", &directory)
}
