//! From the source of a `COPY` to what it matches.

use rustix::fs::FileType;

use super::{Filter, Scanner, Selection};
use crate::error::{BuildError, IoDoing, Result};
use crate::rooted::{Inside, kind};
use crate::wildcard::{Wildcard, has_wildcard};

/// Finds what a source matches. A source without wildcards must be there; wildcards may match nothing.
///
/// A wildcard matches within one component, as Go's `filepath.Match` does over a walk; what is matched is followed if it
/// is a link, what is walked is not.
pub(crate) fn select(scanner: &Scanner<'_>, source: &str) -> Result<Vec<Selection>> {
    if !has_wildcard(source) {
        let path = scanner.root.resolve(source.as_bytes())?;
        let name = source.rsplit('/').next().unwrap_or_default().as_bytes().to_vec();
        return match scanner.scan(&path)? {
            Some(entries) => Ok(vec![Selection { name, path, entries }]),
            None => Err(missing(scanner, source, &path)?),
        };
    }
    let components: Vec<&str> = source.split('/').filter(|component| !component.is_empty()).collect();
    let first = components.iter().position(|component| has_wildcard(component)).unwrap_or(components.len());
    let start = scanner.root.resolve(components[..first].join("/").as_bytes())?;
    let mut found = Vec::new();
    expand(scanner, start, &components[first..], &mut found)?;
    let mut selections = Vec::new();
    for matched in found {
        let path = scanner.root.resolve(matched.as_bytes())?;
        match scanner.scan(&path)? {
            Some(entries) => selections.push(Selection { name: matched.name().to_vec(), path, entries }),
            // A link that matches and leads nowhere.
            None if scanner.root.stat(&path)?.is_none() && !scanner.verdict(&matched).is_excluded() => {
                let shown = format!("/{}", String::from_utf8_lossy(matched.as_bytes()));
                return Err(missing(scanner, &shown, &path)?);
            }
            None => {}
        }
    }
    Ok(selections)
}

/// Adds the paths below `directory` that match, in the order of names.
fn expand(
    scanner: &Scanner<'_>,
    directory: Inside,
    patterns: &[&str],
    found: &mut Vec<Inside>,
) -> Result<()> {
    let Some((pattern, rest)) = patterns.split_first() else {
        found.push(directory);
        return Ok(());
    };
    if !scanner.root.stat(&directory)?.is_some_and(|stat| kind(&stat) == FileType::Directory) {
        return Ok(());
    }
    let wildcard =
        Wildcard::parse(pattern).map_err(|error| BuildError::invalid(format!("{pattern}: {error}")))?;
    let full = scanner.root.full(&directory);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&full).doing("read", &full)? {
        let name = std::os::unix::ffi::OsStringExt::into_vec(entry.doing("read", &full)?.file_name());
        if wildcard.matches(&name) {
            names.push(name);
        }
    }
    names.sort();
    for name in names {
        expand(scanner, directory.join(&name), rest, found)?;
    }
    Ok(())
}

/// Says that a source is not there, and whether that is the ignore file's doing.
fn missing(scanner: &Scanner<'_>, source: &str, path: &Inside) -> Result<BuildError> {
    let error = BuildError::invalid(format!("{source:?}: not found"));
    match (scanner.filter, scanner.root.stat(path)?) {
        (Filter::Context(_), Some(_)) => {
            Ok(error.with_hint("it is in the build context, but the .dockerignore file leaves it out"))
        }
        (Filter::Context(_), None) => Ok(error.with_hint(format!(
            "paths are relative to the build context, {}",
            scanner.root.path().display()
        ))),
        (Filter::Everything, _) => Ok(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ignore::Ignore;
    use crate::rooted::Root;

    #[test]
    fn sources_match_as_in_go() {
        let directory = tempfile::tempdir().unwrap();
        for file in ["main.go", "util.go", "sub/x.go", "sub/deep/y.go", "other/x.go", "[odd]"] {
            let path = directory.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::File::create(&path).unwrap();
        }
        std::os::unix::fs::symlink("sub", directory.path().join("link")).unwrap();
        let root = Root::new(directory.path());
        std::os::unix::fs::symlink("gone", directory.path().join("dangling")).unwrap();
        std::os::unix::fs::symlink("gone", directory.path().join("dangling-too")).unwrap();
        let ignore = Ignore::parse(b"util.go\ndangling-too").unwrap();
        let scanner = Scanner { root: &root, filter: Filter::Context(&ignore) };
        let paths = |source: &str| {
            let selections = select(&scanner, source)?;
            let shown = |s: &Selection| {
                format!("{}={}", String::from_utf8_lossy(&s.name), String::from_utf8_lossy(s.path.as_bytes()))
            };
            Ok::<_, BuildError>(selections.iter().map(shown).collect::<Vec<_>>().join(" "))
        };
        for (source, expected) in [
            ("/main.go", "main.go=main.go"),
            ("/*.go", "main.go=main.go"),
            ("/*/x.go", "x.go=other/x.go x.go=sub/x.go"),
            ("/su*", "sub=sub"),
            ("/l*", "link=sub"),
            ("/link/x.go", "x.go=sub/x.go"),
            ("/link/*.go", "x.go=sub/x.go"),
            ("/**/y.go", ""),
            ("/s*/d*/?.go", "y.go=sub/deep/y.go"),
            ("/nothing*", ""),
            ("/dangling-*", ""),
            ("/[[]odd]", "[odd]=[odd]"),
            ("/", "="),
        ] {
            assert_eq!(paths(source).unwrap(), expected, "{source}");
        }
        let hidden = paths("/util.go").unwrap_err();
        assert!(hidden.hint.unwrap().contains(".dockerignore"));
        assert_eq!(paths("/missing").unwrap_err().message, "\"/missing\": not found");
        assert_eq!(paths("/dang*").unwrap_err().message, "\"/dangling\": not found");
    }
}
