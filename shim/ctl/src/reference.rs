//! Image names as people read them. Only for what is printed and asked: the daemon alone decides what a name means.

/// The registry that a name without one is of.
const DEFAULT_DOMAIN: &str = "docker.io";
/// Where that registry keeps the images whose names have one part.
const OFFICIAL: &str = "library/";

/// A name in its parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Parts<'a> {
    /// The name without tag and digest.
    pub repository: &'a str,
    pub tag: Option<&'a str>,
    pub digest: Option<&'a str>,
}

/// Takes a name apart.
pub(crate) fn split(name: &str) -> Parts<'_> {
    let (rest, digest) = name.split_once('@').map_or((name, None), |(rest, digest)| (rest, Some(digest)));
    match rest.rsplit_once(':') {
        // A colon before a slash is that of a port.
        Some((repository, tag)) if !tag.contains('/') => Parts { repository, tag: Some(tag), digest },
        _ => Parts { repository: rest, tag: None, digest },
    }
}

/// Leaves out of a normalised name what people leave out: `docker.io/library/alpine:3` is `alpine:3`.
pub(crate) fn familiar(name: &str) -> &str {
    let Some(path) = name.strip_prefix(DEFAULT_DOMAIN).and_then(|path| path.strip_prefix('/')) else {
        return name;
    };
    path.strip_prefix(OFFICIAL).filter(|rest| !split(rest).repository.contains('/')).unwrap_or(path)
}

/// Returns the path of a repository at its registry, which docker shows while it pulls: `library/alpine`.
pub(crate) fn remote_path(repository: &str) -> String {
    match repository.split_once('/') {
        Some((first, path)) if is_domain(first) => {
            if first == DEFAULT_DOMAIN && !path.contains('/') {
                format!("{OFFICIAL}{path}")
            } else {
                path.to_owned()
            }
        }
        Some(_) => repository.to_owned(),
        None => format!("{OFFICIAL}{repository}"),
    }
}

fn is_domain(first: &str) -> bool {
    first.contains(['.', ':']) || first == "localhost" || first.chars().any(|c| c.is_ascii_uppercase())
}

/// Tells whether an image of this normalised name is meant by a pattern, with or without its tag.
pub(crate) fn is_meant(pattern: &str, name: &str) -> bool {
    [name, familiar(name)]
        .into_iter()
        .any(|name| matches(pattern, name) || matches(pattern, split(name).repository))
}

/// Matches as Go's `path.Match`: `*` and `?` stand for anything but a slash, `[a-z]` for one of these.
///
/// A star never has to give back what it took before an earlier star: what lies between two stars without a slash in
/// them can be found at its first place, and a slash is found at one place only.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() || p < pattern.len() {
        if pattern.get(p) == Some(&'*') {
            p += 1;
            star = Some((p, n));
            continue;
        }
        if let Some(after) = name.get(n).and_then(|&c| match_one(&pattern, p, c)) {
            (p, n) = (after, n + 1);
            continue;
        }
        // The last star takes one character more.
        match star {
            Some((after, taken)) if name.get(taken).is_some_and(|&c| c != '/') => {
                (p, n) = (after, taken + 1);
                star = Some((after, taken + 1));
            }
            _ => return false,
        }
    }
    true
}

/// Matches one character with what the pattern has at `at`; returns where the pattern goes on.
fn match_one(pattern: &[char], at: usize, c: char) -> Option<usize> {
    match *pattern.get(at)? {
        '?' => (c != '/').then_some(at + 1),
        '[' => match_class(pattern, at + 1, c),
        '\\' => (*pattern.get(at + 1)? == c).then_some(at + 2),
        literal => (literal == c).then_some(at + 1),
    }
}

fn match_class(pattern: &[char], mut at: usize, c: char) -> Option<usize> {
    let negated = *pattern.get(at)? == '^';
    at += usize::from(negated);
    let mut found = false;
    let mut first = true;
    loop {
        let low = *pattern.get(at)?;
        if low == ']' && !first {
            return (found != negated && c != '/').then_some(at + 1);
        }
        first = false;
        at += 1;
        let mut high = low;
        if pattern.get(at) == Some(&'-') {
            high = *pattern.get(at + 1)?;
            at += 2;
        }
        found |= (low..=high).contains(&c);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts() {
        let rows = [
            ("alpine", ("alpine", None, None)),
            ("alpine:3", ("alpine", Some("3"), None)),
            ("localhost:5000/app", ("localhost:5000/app", None, None)),
            ("localhost:5000/app:1", ("localhost:5000/app", Some("1"), None)),
            ("app@sha256:ab", ("app", None, Some("sha256:ab"))),
            ("r.example:1/app:2@sha256:ab", ("r.example:1/app", Some("2"), Some("sha256:ab"))),
        ];
        for (name, (repository, tag, digest)) in rows {
            assert_eq!(split(name), Parts { repository, tag, digest }, "{name}");
        }
    }

    #[test]
    fn familiar_names() {
        let rows = [
            ("docker.io/library/alpine:3", "alpine:3"),
            ("docker.io/library/a/b:3", "library/a/b:3"),
            ("docker.io/team/app:1", "team/app:1"),
            ("docker.iox/library/app:1", "docker.iox/library/app:1"),
            ("registry.example/library/app:1", "registry.example/library/app:1"),
            ("docker.io/library/app@sha256:ab", "app@sha256:ab"),
        ];
        for (name, expected) in rows {
            assert_eq!(familiar(name), expected);
        }
    }

    #[test]
    fn remote_paths() {
        let rows = [
            ("alpine", "library/alpine"),
            ("docker.io/alpine", "library/alpine"),
            ("docker.io/library/alpine", "library/alpine"),
            ("team/app", "team/app"),
            ("localhost/app", "app"),
            ("localhost:5000/a/b", "a/b"),
            ("registry.example/app", "app"),
        ];
        for (name, expected) in rows {
            assert_eq!(remote_path(name), expected, "{name}");
        }
    }

    #[test]
    fn patterns() {
        let rows = [
            ("alpine", "docker.io/library/alpine:3", true),
            ("alpine:3", "docker.io/library/alpine:3", true),
            ("docker.io/library/alpine", "docker.io/library/alpine:3", true),
            ("alp", "docker.io/library/alpine:3", false),
            ("alp*", "docker.io/library/alpine:3", true),
            ("*", "docker.io/library/alpine:3", true),
            ("*:3", "docker.io/library/alpine:3", true),
            ("*", "docker.io/team/app:3", false),
            ("*/*", "docker.io/team/app:3", true),
            ("*/a?p", "docker.io/team/app:3", true),
            ("team/[a-c]pp:[^0-2]", "docker.io/team/app:3", true),
            ("team/[b-c]pp", "docker.io/team/app:3", false),
            ("a*b*c", "docker.io/library/axbxbxc:1", true),
            ("[", "docker.io/library/alpine:3", false),
            (r"alpine\:3", "docker.io/library/alpine:3", true),
            ("", "docker.io/library/alpine:3", false),
        ];
        for (pattern, name, expected) in rows {
            assert_eq!(is_meant(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn stars_do_not_explode() {
        let pattern = "a*".repeat(200) + "b";
        assert!(!matches(&pattern, &"a".repeat(5000)));
    }
}
