//! Users and groups by name, as the root filesystem of a step knows them.

use std::io::Read;

use crate::error::{BuildError, IoDoing, Result};
use crate::host::UserIds;
use crate::rooted::Root;

/// No sane list of users is larger.
const MAX_FILE_BYTES: u64 = 10 << 20;

/// A line of `/etc/passwd`: name, user, group.
#[derive(Debug, PartialEq, Eq)]
struct User {
    name: String,
    uid: u32,
    gid: u32,
}

/// A line of `/etc/group`: name, group, members.
#[derive(Debug, PartialEq, Eq)]
struct Group {
    name: String,
    gid: u32,
    members: Vec<String>,
}

/// Reads a file of the root filesystem; one that is not there is empty.
fn read(root: &Root, path: &str) -> Result<String> {
    let full = root.full(&root.resolve(path.as_bytes())?);
    let file = match std::fs::File::open(&full) {
        Ok(file) => file,
        Err(error) if matches!(error.raw_os_error(), Some(code) if code == rustix::io::Errno::NOENT.raw_os_error() || code == rustix::io::Errno::NOTDIR.raw_os_error()) =>
        {
            return Ok(String::new());
        }
        Err(error) => return Err(error).doing("open", &full),
    };
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).doing("read", &full)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(BuildError::failed(format!("{path} of the image is larger than {MAX_FILE_BYTES} bytes")));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn users(root: &Root) -> Result<Vec<User>> {
    let parse = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        let uid = fields.nth(1)?.parse().ok()?;
        Some(User { name, uid, gid: fields.next()?.parse().ok()? })
    };
    Ok(read(root, "/etc/passwd")?.lines().filter_map(parse).collect())
}

fn groups(root: &Root) -> Result<Vec<Group>> {
    let parse = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        let gid = fields.nth(1)?.parse().ok()?;
        let members = fields.next().unwrap_or_default().split(',').map(str::to_owned).collect();
        Some(Group { name, gid, members })
    };
    Ok(read(root, "/etc/group")?.lines().filter_map(parse).collect())
}

fn unknown(kind: &str, name: &str) -> BuildError {
    let file = if kind == "user" { "/etc/passwd" } else { "/etc/group" };
    BuildError::failed(format!("unable to find {kind} {name}: {file} of the image has no such entry"))
}

/// Looks up the user of a process (`USER`): `user`, `user:group`, by name or number.
///
/// A user that is only a number gets its own group if the list of users knows it, and else group 0.
pub(crate) fn process_user(root: &Root, text: &str) -> Result<UserIds> {
    let (user, group) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
    let number = |text: &str| text.parse::<u32>().ok();
    if let (Some(uid), Some(gid)) = (root_or(user, number), group.and_then(|group| root_or(group, number))) {
        return Ok(UserIds { uid, gid, additional_gids: Vec::new() });
    }
    let user = if user.is_empty() { "0" } else { user };
    let known = users(root)?;
    let by_name = known.iter().find(|known| known.name == user);
    let found = by_name.or_else(|| number(user).and_then(|uid| known.iter().find(|known| known.uid == uid)));
    let (uid, gid, name) = match (found, number(user)) {
        (Some(found), _) => (found.uid, found.gid, found.name.as_str()),
        (None, Some(uid)) => (uid, 0, ""),
        (None, None) => return Err(unknown("user", user)),
    };
    match group.filter(|group| !group.is_empty()) {
        Some(group) => Ok(UserIds { uid, gid: group_id(root, group)?, additional_gids: Vec::new() }),
        None => {
            let member =
                |group: &Group| !name.is_empty() && group.members.iter().any(|member| member == name);
            let additional_gids =
                groups(root)?.iter().filter(|group| member(group)).map(|group| group.gid).collect();
            Ok(UserIds { uid, gid, additional_gids })
        }
    }
}

fn root_or(text: &str, number: impl Fn(&str) -> Option<u32>) -> Option<u32> {
    if text == "root" { Some(0) } else { number(text) }
}

fn group_id(root: &Root, group: &str) -> Result<u32> {
    let known = groups(root)?;
    let by_name = known.iter().find(|known| known.name == group).map(|known| known.gid);
    by_name.or_else(|| group.parse().ok()).ok_or_else(|| unknown("group", group))
}

/// The owner of files, and what of it could not be found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct FileOwner {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// What its user should be told.
    pub(crate) unknown: Vec<String>,
}

/// Looks up the owner of files (`--chown`, `WORKDIR`): a number alone is user and group, a name alone brings its group.
/// As in BuildKit, a user that nobody knows is root, and a group that nobody knows leaves the user's.
pub(crate) fn file_owner(root: &Root, text: &str) -> Result<FileOwner> {
    let (user, group) = text.split_once(':').map_or((text, ""), |(user, group)| (user, group));
    let mut owner = FileOwner::default();
    match root_or(user, |user| user.parse().ok()) {
        Some(uid) => (owner.uid, owner.gid) = (uid, uid),
        None if user.is_empty() => {}
        None => match users(root)?.iter().find(|known| known.name == user) {
            Some(found) => (owner.uid, owner.gid) = (found.uid, found.gid),
            None => owner.unknown.push(format!("{}; 0 is used", unknown("user", user))),
        },
    }
    match root_or(group, |group| group.parse().ok()) {
        Some(gid) => owner.gid = gid,
        None if group.is_empty() => {}
        None => match groups(root)?.iter().find(|known| known.name == group) {
            Some(found) => owner.gid = found.gid,
            None => owner.unknown.push(format!("{}; {} is used", unknown("group", group), owner.gid)),
        },
    }
    Ok(owner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> (tempfile::TempDir, Root) {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("etc")).unwrap();
        let write = |name: &str, text: &str| {
            use std::io::Write;
            std::fs::File::create(directory.path().join(name)).unwrap().write_all(text.as_bytes()).unwrap();
        };
        write(
            "etc/passwd",
            "root:x:0:0::/:/bin/sh\nbad line\nann:x:1000:100::/home/ann:\nbob:x:1001:1001::/:\n",
        );
        write("etc/group", "root:x:0:\nusers:x:100:\nwheel:x:10:ann,bob\ndocker:x:999:ann\n");
        let root = Root::new(directory.path());
        (directory, root)
    }

    #[test]
    fn processes_run_as_users_of_the_image() {
        let (_directory, root) = root();
        for (text, uid, gid, additional) in [
            ("", 0, 0, &[][..]),
            ("root", 0, 0, &[]),
            ("ann", 1000, 100, &[10, 999]),
            ("1000", 1000, 100, &[10, 999]),
            ("ann:wheel", 1000, 10, &[]),
            ("ann:77", 1000, 77, &[]),
            ("4242", 4242, 0, &[]),
            ("5:6", 5, 6, &[]),
            ("root:root", 0, 0, &[]),
        ] {
            let ids = process_user(&root, text).unwrap();
            assert_eq!((ids.uid, ids.gid, &ids.additional_gids[..]), (uid, gid, additional), "{text}");
        }
        for bad in ["eve", "ann:nobody", "-1"] {
            assert!(process_user(&root, bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn files_get_the_owner_that_was_asked_for() {
        let (_directory, root) = root();
        for (text, owner) in [
            ("1", (1, 1)),
            ("1:2", (1, 2)),
            ("ann", (1000, 100)),
            ("ann:", (1000, 100)),
            ("ann:wheel", (1000, 10)),
            ("7:users", (7, 100)),
            (":wheel", (0, 10)),
            ("", (0, 0)),
        ] {
            let expected = FileOwner { uid: owner.0, gid: owner.1, unknown: Vec::new() };
            assert_eq!(file_owner(&root, text).unwrap(), expected, "{text}");
        }
        for (text, owner, named) in [
            ("eve", (0, 0), "user eve"),
            ("eve:users", (0, 100), "user eve"),
            ("ann:nogroup", (1000, 100), "group nogroup"),
            ("5:nogroup", (5, 5), "group nogroup"),
        ] {
            let found = file_owner(&root, text).unwrap();
            assert_eq!((found.uid, found.gid), owner, "{text}");
            assert!(found.unknown.len() == 1 && found.unknown[0].contains(named), "{found:?}");
        }
    }

    #[test]
    fn an_image_without_lists_knows_only_numbers() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::new(directory.path());
        assert_eq!(process_user(&root, "12").unwrap().uid, 12);
        assert_eq!(process_user(&root, "").unwrap(), UserIds::default());
        assert!(process_user(&root, "ann").is_err());
        assert_eq!(file_owner(&root, "root:root").unwrap(), FileOwner::default());
    }
}
