//! Paths of a Dockerfile: absolute, clean, and with the trailing slash that says "a directory".

/// Returns a path as it is meant in a working directory. A trailing `/` or `/.` stays: it is of meaning for `COPY`.
pub(super) fn normalise(directory: &str, path: &str) -> String {
    let joined = if path.starts_with('/') { path.to_owned() } else { format!("{directory}/{path}") };
    let mut clean = clean(&joined);
    if path.ends_with('/') && !clean.ends_with('/') {
        clean.push('/');
    } else if path.ends_with("/.") {
        if clean != "/" {
            clean.push('/');
        }
        clean.push('.');
    }
    clean
}

/// Returns the directory that a `WORKDIR` sets, as BuildKit writes it: one that is absolute as it stands, another clean.
pub(super) fn workdir(directory: &str, wanted: &str) -> String {
    if wanted.starts_with('/') { wanted.to_owned() } else { clean(&format!("{directory}/{wanted}")) }
}

/// Returns an absolute path without `.`, `..`, and empty components; `..` does not lead above the root.
pub(super) fn clean(path: &str) -> String {
    let mut components: Vec<&str> = Vec::new();
    for component in path.split('/') {
        match component {
            "" | "." => {}
            ".." => drop(components.pop()),
            component => components.push(component),
        }
    }
    format!("/{}", components.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_clean_and_keep_their_meaning() {
        for (directory, path, expected) in [
            ("/", "a", "/a"),
            ("/w", "a/../b", "/w/b"),
            ("/w", "/a//b/", "/a/b/"),
            ("/w", "./", "/w/"),
            ("/w", "..", "/"),
            ("/w", "../..", "/"),
            ("/w/", "x", "/w/x"),
            ("/w", "/", "/"),
            ("/w", "a/.", "/w/a/."),
            ("/", "/.", "/."),
        ] {
            assert_eq!(normalise(directory, path), expected, "{directory} {path}");
        }
    }

    #[test]
    fn working_directories_are_written_as_buildkit_writes_them() {
        for (directory, path, expected) in [
            ("/w", "/a//b/../c/", "/a//b/../c/"),
            ("/w", "/./", "/./"),
            ("/a//b/../c/", "x/.", "/a/c/x"),
            ("/w/", "sub/", "/w/sub"),
            ("/w", "..", "/"),
        ] {
            assert_eq!(workdir(directory, path), expected, "{directory} {path}");
        }
    }
}
