//! Paths of a Dockerfile: absolute, clean, and with the trailing slash that says "a directory".

/// Returns a path as it is meant in a working directory. A trailing `/` or `/.` stays: it is of meaning for `COPY`, and
/// it is what BuildKit writes into configurations.
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
}
