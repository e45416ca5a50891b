//! The shape of the repository: what the top level holds, who may use whom, how long files are, what is documented.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use tests::files;

/// The top level, apart from dot-files; `target` is cargo's.
const TOP: [&str; 9] =
    ["Cargo.lock", "Cargo.toml", "README.md", "bootstrap", "cachestore", "proto", "shim", "target", "tests"];

/// The crates, their folders, and the crates of this workspace that each may depend on.
const CRATES: [(&str, &str, &[&str]); 9] = [
    ("proto", "proto", &[]),
    ("cachestore", "cachestore", &[]),
    ("transfer", "cachestore/transfer", &["cachestore"]),
    ("builder", "shim/builder", &["cachestore"]),
    ("shim", "shim", &["builder", "cachestore", "proto", "transfer"]),
    ("shimctl", "shim/ctl", &["proto"]),
    ("bootstrap", "bootstrap", &["proto"]),
    ("controllers", "bootstrap/controllers", &["proto"]),
    ("tests", "tests", &["bootstrap", "builder", "cachestore", "proto", "shim", "shimctl", "transfer"]),
];

/// A file with more lines than this does more than one thing.
const LONGEST_FILE: usize = 600;

/// Kinds of files that people write; lock files and the like are not among them.
const WRITTEN: [&str; 5] = ["c", "go", "proto", "rs", "sh"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate is in the repository").to_path_buf()
}

/// Every file of the repository, without what git and cargo keep.
fn sources() -> Result<Vec<PathBuf>> {
    let hidden = |path: &Path| {
        path.components().any(|part| part.as_os_str() == ".git" || part.as_os_str() == "target")
    };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root())? {
        let path = entry?.path();
        let name = PathBuf::from(path.file_name().context("a name")?);
        if hidden(&name) {
            continue;
        }
        if path.is_dir() {
            let below = files::tree(&path)?;
            found.extend(below.into_iter().map(|file| name.join(file)).filter(|file| !hidden(file)));
        } else {
            found.push(name);
        }
    }
    Ok(found)
}

fn nothing(problems: &[String]) {
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn the_top_level_is_as_designed() -> Result<()> {
    let mut names = BTreeSet::new();
    for entry in std::fs::read_dir(root())? {
        names.insert(entry?.file_name().to_string_lossy().into_owned());
    }
    let foreign = names.iter().filter(|name| !name.starts_with('.') && !TOP.contains(&name.as_str()));
    let missing = TOP.iter().filter(|name| **name != "target" && !names.contains(**name));
    let mut problems: Vec<String> = foreign.map(|name| format!("{name}: does not belong here")).collect();
    problems.extend(missing.map(|name| format!("{name}: is missing")));
    nothing(&problems);
    Ok(())
}

/// The packages that a manifest names, of every kind and for every target, under their real names.
fn dependencies(manifest: &toml::Table) -> Vec<String> {
    let targets =
        manifest.get("target").and_then(toml::Value::as_table).into_iter().flat_map(toml::Table::values);
    let mut found = Vec::new();
    for place in std::iter::once(manifest).chain(targets.filter_map(toml::Value::as_table)) {
        for table in ["dependencies", "dev-dependencies", "build-dependencies"] {
            for (name, value) in place.get(table).and_then(toml::Value::as_table).into_iter().flatten() {
                let real = value.get("package").and_then(toml::Value::as_str).unwrap_or(name);
                found.push(real.to_owned());
            }
        }
    }
    found
}

#[test]
fn renamed_and_conditional_dependencies_count() -> Result<()> {
    let manifest: toml::Table =
        "[dependencies]\na = { package = \"b\" }\n[target.'cfg(unix)'.dev-dependencies]\nc = \"1\""
            .parse()?;
    assert_eq!(dependencies(&manifest), ["b", "c"]);
    Ok(())
}

#[test]
fn crates_use_only_what_they_may() -> Result<()> {
    let allowed: BTreeMap<&str, &[&str]> = CRATES.iter().map(|(name, _, may)| (*name, *may)).collect();
    let mut problems = Vec::new();
    for (name, folder, may) in CRATES {
        let manifest: toml::Table = files::text(root().join(folder).join("Cargo.toml"))?.parse()?;
        let package = manifest["package"]["name"].as_str().unwrap_or_default();
        if package != name {
            problems.push(format!("{folder}: the package is called {package:?}, not {name:?}"));
        }
        for used in dependencies(&manifest).into_iter().filter(|used| allowed.contains_key(used.as_str())) {
            if !may.contains(&used.as_str()) {
                problems.push(format!("{folder}/Cargo.toml: {name} must not depend on {used}"));
            }
        }
    }
    nothing(&problems);
    Ok(())
}

#[test]
fn every_member_is_known_here() -> Result<()> {
    let manifest: toml::Table = files::text(root().join("Cargo.toml"))?.parse()?;
    let members = manifest["workspace"]["members"].as_array().context("no members")?;
    let members: BTreeSet<&str> = members.iter().filter_map(toml::Value::as_str).collect();
    assert_eq!(members, CRATES.iter().map(|(_, folder, _)| *folder).collect());
    Ok(())
}

#[test]
fn every_crate_is_documented() -> Result<()> {
    let mut problems = Vec::new();
    for (name, folder, _) in CRATES {
        let readme = files::text(root().join(folder).join("README.md")).unwrap_or_default();
        if readme.lines().count() < 3 {
            problems.push(format!("{folder}/README.md: missing or empty"));
        }
        let sources = ["src/lib.rs", "src/main.rs"].map(|file| root().join(folder).join(file));
        let texts: Vec<String> = sources.iter().filter_map(|path| files::text(path).ok()).collect();
        let documented = |text: &String| text.contains("#![doc = include_str!(\"../README.md\")]");
        if !texts.iter().any(documented) {
            problems.push(format!("{folder}: the README is not the documentation of {name}"));
        }
    }
    nothing(&problems);
    Ok(())
}

#[test]
fn no_file_is_too_long() -> Result<()> {
    let written = |path: &PathBuf| {
        let extension = path.extension().unwrap_or_default().to_string_lossy();
        WRITTEN.contains(&&*extension) || (extension.is_empty() && path.starts_with("tests"))
    };
    let mut problems = Vec::new();
    for path in sources()?.into_iter().filter(written) {
        let lines = files::text(root().join(&path))?.lines().count();
        if lines > LONGEST_FILE {
            problems.push(format!("{}: {lines} lines, {LONGEST_FILE} are allowed", path.display()));
        }
    }
    nothing(&problems);
    Ok(())
}

#[test]
fn nothing_points_outside_the_repository() -> Result<()> {
    // In two parts, so that this file does not mention them either.
    let outside = [
        ["../", "shared"],
        ["/work/", "main"],
        ["/work/", "shared"],
        ["/work/", "scratch"],
        ["/work/", ".library"],
    ];
    let mut problems = Vec::new();
    for path in sources()? {
        let text = files::text(root().join(&path))?;
        for (number, line) in text.lines().enumerate() {
            if let Some(found) =
                outside.iter().map(|parts| parts.concat()).find(|name| line.contains(name.as_str()))
            {
                problems.push(format!("{}:{}: mentions {found}", path.display(), number + 1));
            }
        }
    }
    nothing(&problems);
    Ok(())
}
