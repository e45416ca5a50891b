//! The source `release`: programs and images as the Kubernetes project publishes them.
//!
//! Programs come into an entry of the cache, each checked against what is pinned or else what was published beside it;
//! images come into the store, by digest where that is pinned. What was not pinned is, from now on.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::command::tied;
use crate::component::cache::{self, Cache, Draft, Entry, Look};
use crate::component::download::{Downloader, Wanted};
use crate::component::install::NODE_PROGRAMS;
use crate::component::installed::{Installed, PROGRAM_MODE, Program};
use crate::component::lock::{Lock, Pinned, is_sha256};
use crate::component::progress::Meter;
use crate::component::published::{File, Servers, image_names};
use crate::component::source::Source;
use crate::component::store::Store;
use crate::component::{Report, altered, build, cache_of, known, place, pull, recipe};
use crate::error::{Error, Result};
use crate::kubeadm::Version;
use crate::node::Node;
use crate::paths::Paths;
use crate::{fault, files};

mod archive;

/// The largest program; they have less than 150 MB.
const MAX_PROGRAM_BYTES: u64 = 1 << 30;
/// How long the server may take to show that it is there.
const PROBE_LIMIT: Duration = Duration::from_secs(3);

/// Downloads, pulls, and places the node's programs.
pub(super) async fn install(node: &Node, version: &Version, report: Report<'_>) -> Result<Installed> {
    let servers = Servers::of(&node.config()?.components);
    let cache = cache_of(&node.paths)?;
    let entry = programs(&cache, version, &servers, report).await?;
    let text =
        tied::kubeadm_images(&entry.directory.join("bin/kubeadm"), &version.to_string()).run(&|_| {}).await?;
    let mut installed = Installed::new(Source::Release, &version.to_string(), entry.key());
    installed.images = images(node, &cache, &servers, &image_names(&text)?, report).await?;
    for name in NODE_PROGRAMS {
        let program = program(&entry, name)?;
        let (from, to) = (entry.directory.join("bin").join(name), node.paths.bin().join(name));
        place::copy(from, to, program.clone()).await?;
        installed.programs.insert(name.to_owned(), program);
    }
    Ok(installed)
}

/// Decides what `auto` means: what is in the cache, else `release` if its server answers, else `build` if that can be done.
///
/// # Errors
/// Neither can be; with what each lacks.
pub(super) async fn choose(paths: &Paths, version: &Version, report: Report<'_>) -> Result<Source> {
    let config = crate::config::Config::read(&paths.bootstrap_config())?;
    let (cache, servers) = (cache_of(paths)?, Servers::of(&config.components));
    let known = known::find(&version.to_string());
    let is_whole = |key: &str| Ok::<_, Error>(matches!(cache.look(key)?, Look::Whole(_)));
    if is_whole(&key(version))? {
        return Ok(say(Source::Release, "its files are in the cache", report));
    }
    if let Ok(known) = known
        && is_whole(&recipe::key(known))?
    {
        return Ok(say(Source::Build, "its files are in the cache", report));
    }
    let probe = format!("{}.sha256", servers.program("kubelet", version).url);
    let no_release = match Downloader::default().answers(&probe, PROBE_LIMIT).await {
        Ok(()) => return Ok(say(Source::Release, &format!("{} answers", servers.download), report)),
        Err(answer) => format!("{} does not answer ({answer})", servers.download),
    };
    let no_build = match (known, build::go().await) {
        (Ok(_), Ok(_)) => return Ok(say(Source::Build, &no_release, report)),
        (Err(error), _) | (_, Err(error)) => match error.hint() {
            Some(hint) => format!("{error}; {hint}"),
            None => error.to_string(),
        },
    };
    Err(Error::Lacking {
        missing: vec![format!(
            "a source of the components: for `release`, {no_release}; for `build`, {no_build}"
        )],
        remedy:
            "connect it to the network, or use --components bundle=FILE with an archive of `shimctl bundle`"
                .into(),
    })
}

fn say(source: Source, why: &str, report: Report<'_>) -> Source {
    tracing::info!(%source, why, "chose the source of the components");
    report(format!("components come from the source {source}: {why}"));
    source
}

fn key(version: &Version) -> String {
    format!("release-{version}")
}

fn program(entry: &Entry, name: &str) -> Result<Program> {
    let (size_bytes, sha256) = entry.manifest.sha256(&format!("bin/{name}")).ok_or_else(|| {
        Error::invalid(entry.directory.display().to_string(), format!("has no program {name}"))
    })?;
    Ok(Program { size_bytes, sha256: sha256.to_owned() })
}

/// Returns the entry of the cache that has the programs, downloading what is missing of it.
async fn programs(cache: &Cache, version: &Version, servers: &Servers, report: Report<'_>) -> Result<Entry> {
    let key = key(version);
    let wrong = match cache.look(&key)? {
        Look::Whole(entry) => match altered(&entry).await? {
            none if none.is_empty() => return Ok(entry),
            wrong => {
                tracing::warn!("{}", cache::damaged(&entry.directory, &wrong));
                wrong
            }
        },
        Look::Absent | Look::Damaged(_) => Vec::new(),
    };
    let draft = cache.reopen(&key, &wrong, report).await?;
    // Whoever held the lock may have made it.
    if let Look::Whole(entry) = cache.look(&key)? {
        draft.abandon()?;
        return Ok(entry);
    }
    draft.directory("bin")?;
    let mut lock = Lock::read(cache.directory())?;
    let downloader = Downloader::default();
    for name in NODE_PROGRAMS {
        if !draft.path(&format!("bin/{name}")).exists() {
            fetch(&draft, name, &servers.program(name, version), (&downloader, &mut lock), report).await?;
            fault::point("a program is downloaded");
        }
    }
    draft.finish(&version.to_string(), Vec::new())
}

/// Downloads a program, by itself or in its archive.
async fn fetch(
    draft: &Draft,
    name: &str,
    file: &File,
    (downloader, lock): (&Downloader, &mut Lock),
    report: Report<'_>,
) -> Result<()> {
    let published = format!("{}.sha256", file.url);
    let pinned = match lock.file(&file.official) {
        Some(pinned) => pinned,
        None => Pinned {
            digest: checksum(&downloader.text(&published).await?, &published)?,
            authority: format!("{published} says"),
        },
    };
    let meter = Meter::new(format!("downloading {name}"), report);
    let whole = draft.path(&format!("bin/{name}"));
    let path = if file.is_archive { draft.path(&format!("{name}.tar.gz")) } else { whole.clone() };
    let wanted = Wanted {
        url: &file.url,
        path: &path,
        mode: if file.is_archive { 0o644 } else { PROGRAM_MODE },
        sha256: &pinned.digest,
        authority: &pinned.authority,
        max_bytes: MAX_PROGRAM_BYTES,
    };
    if !path.exists() {
        downloader.fetch(&wanted, &|now, all| meter.at(now, all)).await?;
    }
    lock.record_file(&file.official, &pinned.digest)?;
    if file.is_archive {
        extract(path, whole, name).await?;
    }
    Ok(())
}

async fn extract(archive: PathBuf, to: PathBuf, name: &str) -> Result<()> {
    let name = name.to_owned();
    let work = tokio::task::spawn_blocking(move || {
        let result = archive::extract(&archive, &name, &to);
        // What cannot be used shall not be used the next time either.
        files::remove(&archive).and(result)
    });
    work.await.map_err(|error| Error::invalid("an archive", error.to_string()))?
}

/// Reads what is published beside a file: the digits, and perhaps the name of the file.
fn checksum(text: &str, url: &str) -> Result<String> {
    let digits = text.split_whitespace().next().unwrap_or_default().to_ascii_lowercase();
    if is_sha256(&digits) {
        return Ok(digits);
    }
    let shown: String = text.chars().take(80).collect();
    Err(Error::invalid(url, format!("is not a SHA-256: {shown:?}")))
}

/// Brings the images into the store; returns the ID behind each name.
async fn images(
    node: &Node,
    cache: &Cache,
    servers: &Servers,
    names: &[String],
    report: Report<'_>,
) -> Result<BTreeMap<String, String>> {
    let store = Store::connect(node).await?;
    let mut lock = Lock::read(cache.directory())?;
    let mut installed = BTreeMap::new();
    for (number, name) in (1..).zip(names) {
        let label = format!("pulling {name}, {number} of {}", names.len());
        let id = image(&store, &mut lock, &servers.image(name), name, &Meter::new(label, report)).await?;
        // The name is ours from now on: nothing takes the image away, and no registry is asked for it.
        store.tag(&id, name).await?;
        installed.insert(name.clone(), id);
        fault::point("a published image is in the store");
    }
    Ok(installed)
}

async fn image(
    store: &Store,
    lock: &mut Lock,
    source: &str,
    name: &str,
    meter: &Meter<'_>,
) -> Result<String> {
    let Some(pinned) = lock.image(name) else {
        let pulled = pull::pull(store, source, meter).await?;
        lock.record_image(name, &pulled.digest)?;
        if source != name {
            store.tag(&pulled.image_id, name).await?;
            pull::forget(store, source).await?;
        }
        return Ok(pulled.image_id);
    };
    let repository = source.rsplit_once(':').map_or(source, |(repository, _)| repository);
    let reference = format!("{repository}@{}", pinned.digest);
    if let Some(id) = pull::held(store, &reference).await? {
        return Ok(id);
    }
    match pull::pull(store, &reference, meter).await {
        Ok(pulled) => Ok(pulled.image_id),
        Err(Error::Refused { asked, answer, may_pass }) => {
            let Pinned { digest, authority } = pinned;
            let answer = format!("{answer} ({authority} that {name} is {digest})");
            Err(Error::Refused { asked, answer, may_pass })
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
#[path = "release/tests.rs"]
mod tests;
