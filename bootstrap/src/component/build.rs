//! The source `build`: Go modules that this program carries inside become an entry of the cache.

use std::path::{Path, PathBuf};

use crate::command::tied::{self, GoBuild};
use crate::component::cache::{Cache, Draft, Entry, Look};
use crate::component::known::{Known, Module, Place, Program};
use crate::component::manifest::Context;
use crate::component::{Report, debian, recipe};
use crate::error::{Error, IoContext, Result};
use crate::{fault, files};

/// Where modules lie while their programs are built.
const MODULES: &str = "modules";
/// The oldest Go that all modules take, as major, minor and patch.
const OLDEST_GO: [u32; 3] = [1, 26, 2];

/// Returns the entry of a version, building what is missing of it.
///
/// # Errors
/// Go or a package is missing, a module cannot be had, or something does not compile. What was built is kept for the next time.
pub(crate) async fn ensure(cache: &Cache, known: &'static Known, report: Report<'_>) -> Result<Entry> {
    match cache.look(&recipe::key(known))? {
        Look::Whole(entry) => Ok(entry),
        Look::Absent | Look::Damaged(_) => repair(cache, known, &[], report).await,
    }
}

/// Makes an entry, or makes it again without the content of these files, which is not what it was.
pub(crate) async fn repair(
    cache: &Cache,
    known: &'static Known,
    altered: &[String],
    report: Report<'_>,
) -> Result<Entry> {
    let key = recipe::key(known);
    let go = go().await?;
    if crate::command::find("mmdebstrap").is_none() {
        return Err(debian::lacking());
    }
    let draft = cache.reopen(&key, altered, report).await?;
    // Whoever held the lock may have made it.
    if let Look::Whole(entry) = cache.look(&key)? {
        draft.abandon()?;
        return Ok(entry);
    }
    let home = std::env::var_os("HOME").is_none_or(|home| home.is_empty());
    let home = home.then(|| draft.cache().directory().join(".go"));
    let steps = known.modules().iter().map(|module| module.programs.len()).sum::<usize>() + 1;
    let mut step = 0;
    for module in known.modules() {
        let directory = write_module(&draft, module)?;
        for program in module.programs {
            step += 1;
            let output = draft.path(&place(program));
            if output.try_exists().at("examine", &output)? {
                continue;
            }
            let label = format!("building {}, {step} of {steps}", program.name);
            let build = GoBuild {
                go: &go,
                module: &directory,
                linker_flags: &known.linker_flags(module),
                package: program.package,
                output: &unfinished(&output),
                home: home.as_deref(),
            };
            build_program(&draft, &output, &build, (&label, report)).await?;
        }
    }
    report(format!("unpacking packages for kube-proxy's image, {steps} of {steps}"));
    debian::ensure(&draft).await?;
    let finished = tokio::task::spawn_blocking(move || finish(draft, known));
    finished.await.map_err(|error| Error::invalid("the component cache", error.to_string()))?
}

/// Reads all that was made once more, which takes a second or two, beside other work.
fn finish(draft: Draft, known: &'static Known) -> Result<Entry> {
    let mut images = Vec::new();
    for recipe in known.recipes() {
        let directory = format!("images/{}", recipe.directory);
        draft.directory(&directory)?;
        let dockerfile = format!("{directory}/Dockerfile");
        files::put(&draft.path(&dockerfile), recipe.dockerfile.as_bytes(), 0o644)?;
        images.push(Context { name: recipe.name, context: recipe.context, dockerfile });
    }
    files::remove_tree(&draft.path(MODULES))?;
    fault::point("a cache entry is built");
    draft.finish(known.version, images)
}

/// Returns where a program is in an entry.
fn place(program: &Program) -> String {
    match program.place {
        Place::Node => format!("bin/{}", program.name),
        Place::Image(directory) => format!("images/{directory}/{}", program.name),
    }
}

fn unfinished(output: &Path) -> PathBuf {
    output.with_extension("new")
}

fn write_module(draft: &Draft, module: &Module) -> Result<PathBuf> {
    let directory = draft.directory(&format!("{MODULES}/{}", module.name))?;
    for (name, content) in module.files {
        files::put(&directory.join(name), content.as_bytes(), 0o644)?;
    }
    Ok(directory)
}

/// Builds a program; it has its name when it is whole and on disk.
async fn build_program(
    draft: &Draft,
    output: &Path,
    build: &GoBuild<'_>,
    (label, report): (&str, Report<'_>),
) -> Result<()> {
    if let Some(parent) = output.parent() {
        files::ensure_directory(parent, 0o755)?;
    }
    files::remove(build.output)?;
    report(label.to_owned());
    let said = |line: &str| {
        if let Some(module) = line.strip_prefix("go: downloading ") {
            report(format!("{label}: downloading {module}"));
        }
    };
    build.command().run(&said).await.map_err(|error| explain(error, draft.cache()))?;
    let file = std::fs::File::open(build.output).at("open", build.output)?;
    file.sync_all().at("sync", build.output)?;
    fault::point("a program is built and not named");
    files::rename(build.output, output)
}

/// The end of what Go says tells the reason; where to look for space is worth a word of its own.
fn explain(error: Error, cache: &Cache) -> Error {
    match error {
        Error::Command { line, outcome, stderr } if stderr.contains("no space left on device") => {
            let space = format!(
                "{stderr}\n(Go needs about 6 GB for its own cache, {} 1 GB)",
                cache.directory().display()
            );
            Error::Command { line, outcome, stderr: space }
        }
        other => other,
    }
}

/// Finds a Go that can build everything.
///
/// # Errors
/// There is none; with what helps.
pub(crate) async fn go() -> Result<PathBuf> {
    let [major, minor, patch] = OLDEST_GO;
    let lacking = |what: String| Error::Lacking {
        missing: vec![format!("{what}, which builds the components")],
        remedy: format!(
            "install Go {major}.{minor}.{patch} or newer from https://go.dev/dl/ into /usr/local/go"
        ),
    };
    let go = tied::go().ok_or_else(|| lacking("Go".into()))?;
    let version = tied::go_version(&go).await?;
    if is_new_enough(&version) {
        return Ok(go);
    }
    Err(lacking(format!("Go {major}.{minor}.{patch} ({} is {version})", go.display())))
}

/// Reads `go1.26.8`, and `go1.27rc1` as 1.27.0.
fn is_new_enough(version: &str) -> bool {
    let numbers = version.trim().strip_prefix("go").unwrap_or("").split('.').map(|part| {
        let digits = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
        part[..digits].parse().unwrap_or(0)
    });
    let mut found = [0_u32; 3];
    for (place, number) in found.iter_mut().zip(numbers) {
        *place = number;
    }
    found >= OLDEST_GO
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::component::known::find;

    #[test]
    fn versions_of_go() {
        for (version, expected) in [
            ("go1.26.8", true),
            ("go1.26.2", true),
            ("go1.26.1", false),
            ("go1.26", false),
            ("go1.27rc1", true),
            ("go2.0", true),
            ("go1.9.99", false),
            ("devel", false),
            ("", false),
        ] {
            assert_eq!(is_new_enough(version), expected, "{version}");
        }
    }

    #[test]
    fn every_file_of_a_dockerfile_is_put_where_it_is_copied_from() {
        let known = find("v1.36.3").unwrap();
        let places: Vec<String> =
            known.modules().iter().flat_map(|module| module.programs).map(place).collect();
        for recipe in known.recipes() {
            let copied = recipe.dockerfile.lines().filter_map(|line| line.strip_prefix("COPY "));
            for line in copied.filter(|line| !line.starts_with("root/")) {
                let mut names: Vec<&str> = line.split(' ').collect();
                names.pop();
                for name in names {
                    let path = format!("{}/{name}", recipe.context);
                    assert!(places.contains(&path), "{path}");
                }
            }
        }
    }

    #[tokio::test]
    async fn an_entry_that_is_whole_needs_no_go() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::new(directory.path()).unwrap();
        let known = find("v1.36.3").unwrap();
        let draft = cache.draft(&recipe::key(known), &|_| {}).await.unwrap();
        let entry = finish(draft, known).unwrap();
        let silent = |text: String| panic!("{text}");
        assert_eq!(ensure(&cache, known, &silent).await.unwrap(), entry);
        assert_eq!(entry.manifest.images.len(), 7);
        assert_eq!(entry.manifest.images[0].context, "bin");
        let dockerfile = entry.directory.join(&entry.manifest.images[0].dockerfile);
        assert!(files::read(dockerfile).unwrap().starts_with("FROM scratch\nCOPY kubeadm "));
    }
}
