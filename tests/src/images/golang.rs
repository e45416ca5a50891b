//! A stand-in for `golang:1.16`, made from the machine's own Go: what `go build` of a program needs that imports the
//! standard library only, with cgo off.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use super::{Set, busybox};
use crate::command::Command;
use crate::files;
use crate::image::{Compression, Entry, Layer, Recipe};
use crate::images::base_entries;

/// The commands that `go build` runs.
const TOOLS: [&str; 3] = ["asm", "compile", "link"];

/// Returns `docker.io/library/golang`, tags `1.16` and `latest`.
///
/// # Errors
/// Go or busybox is not installed, or the cache cannot be written.
pub fn golang_set() -> Result<Set> {
    let version = Command::new("go").arg("version").stdout()?;
    Set::cached("golang", &[include_bytes!("golang.rs"), &busybox()?, version.as_bytes()], |maker| {
        let root = PathBuf::from(Command::new("go").args(["env", "GOROOT"]).stdout()?);
        let base = Layer::write(maker.blobs(), Compression::Gzip, base_entries()?)?;
        let go = Layer::write(maker.blobs(), Compression::Gzip, go_entries(&root)?)?;
        let number = version.split_whitespace().nth(2).context("`go version` says nothing")?;
        let config = json!({
            "Env": [
                "PATH=/go/bin:/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                format!("GOLANG_VERSION={}", number.trim_start_matches("go")),
                "GOPATH=/go",
                "GOTOOLCHAIN=local",
            ],
            "Cmd": ["sh"],
            "WorkingDir": "/go",
        });
        let image = Recipe::default().layer(&base).layer(&go).config(config).write(maker.blobs())?;
        maker.add("docker.io/library/golang", &["1.16", "latest"], &image);
        Ok(())
    })
}

fn go_entries(root: &Path) -> Result<Vec<Entry>> {
    let mut entries: Vec<Entry> = ["go", "go/bin", "go/src", "usr", "usr/local", "usr/local/go"]
        .iter()
        .map(|path| Entry::dir(*path))
        .collect();
    let mut kept = vec![PathBuf::from("VERSION"), PathBuf::from("go.env"), PathBuf::from("bin/go")];
    let tools = files::tree(&root.join("pkg/tool")).context("the tools of Go")?;
    let wanted =
        |path: &&PathBuf| path.file_name().is_some_and(|name| TOOLS.iter().any(|tool| name == *tool));
    let tools: Vec<PathBuf> =
        tools.iter().filter(wanted).map(|path| Path::new("pkg/tool").join(path)).collect();
    ensure!(
        tools.len() == TOOLS.len(),
        "{}: expected {TOOLS:?} under pkg/tool, found {tools:?}",
        root.display()
    );
    kept.extend(tools);
    for folder in ["pkg/include", "src"] {
        let found = files::tree(&root.join(folder))?;
        kept.extend(found.iter().filter(|path| needed(path)).map(|path| Path::new(folder).join(path)));
    }
    kept.sort();
    for path in kept {
        let mode = if path.starts_with("bin") || path.starts_with("pkg/tool") { 0o755 } else { 0o644 };
        entries.push(Entry::copy(Path::new("usr/local/go").join(&path), root.join(&path)).mode(mode));
    }
    Ok(entries)
}

/// Tells whether a source file takes part in builds on linux/amd64: no tests, no commands.
fn needed(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let test = name.ends_with("_test.go") || path.components().any(|part| part.as_os_str() == "testdata");
    !test && !path.starts_with("cmd")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_and_commands_stay_out() {
        let cases = [
            ("net/http/server.go", true),
            ("net/http/server_test.go", false),
            ("net/testdata/hosts", false),
            ("cmd/go/main.go", false),
            ("vendor/golang.org/x/net/idna/idna.go", true),
        ];
        for (path, expected) in cases {
            assert_eq!(needed(Path::new(path)), expected, "{path}");
        }
    }
}
