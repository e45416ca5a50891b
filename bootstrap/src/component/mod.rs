//! Programs and images of Kubernetes: where they come from, and how they get into an instance.
//!
//! A source makes an entry of the cache or fills the store directly; what all sources end with is an [`Installed`], which is
//! recorded. `is_done` compares the record with what is there.

mod build;
mod bundle;
mod cache;
mod debian;
mod download;
mod fill;
mod install;
mod installed;
mod known;
mod lock;
mod manifest;
mod place;
mod progress;
mod published;
mod pull;
mod recipe;
mod release;
mod source;
mod store;

pub(crate) use self::bundle::{BundleArguments, bundle};
use self::cache::{Cache, Entry};
pub(crate) use self::fill::{FillArguments, fill};
pub(crate) use self::installed::Installed;
use self::known::Known;
pub(crate) use self::known::default_version;
pub(crate) use self::source::Source;
pub(crate) use self::store::Store;
use crate::error::{Error, Result};
use crate::kubeadm::Version;
use crate::node::Node;
use crate::paths::Paths;

/// Who is told what is being done, in words for users.
pub(crate) type Report<'a> = &'a (dyn Fn(String) + Sync);

/// What an instance shall have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) source: Source,
    pub(crate) version: Version,
}

/// Checks that a source can have a version, as far as that is known without asking anybody.
///
/// # Errors
/// It cannot; with the versions that it has.
pub(crate) fn check(source: &Source, version: &str) -> Result<()> {
    match source {
        Source::Build => known::find(version).map(drop),
        Source::Auto | Source::Release | Source::Bundle(_) => Ok(()),
    }
}

/// Sees to it that the components are in the store and in the instance's directory of programs. shimd runs.
///
/// What is half done is gone on with.
///
/// # Errors
/// The source does not have the version or cannot be had, or the store does not take it.
pub(crate) async fn ensure(node: &Node, wanted: &Wanted, report: Report<'_>) -> Result<Installed> {
    if let Some(installed) = current(node, wanted).await? {
        return Ok(installed);
    }
    let source = match &wanted.source {
        Source::Auto => release::choose(&node.paths, &wanted.version, report).await?,
        source => source.clone(),
    };
    let installed = match &source {
        Source::Auto | Source::Build => build(node, &wanted.version.to_string(), report).await?,
        Source::Release => release::install(node, &wanted.version, report).await?,
        Source::Bundle(path) => bundle::install(node, path, &wanted.version, report).await?,
    };
    installed.write(&node.paths)?;
    Ok(installed)
}

/// Tells whether [`ensure`] has nothing to do: by the record, the names in the store, and the sizes of the node's programs.
///
/// The cache is not asked: what is installed does not need it any more.
pub(crate) async fn is_done(node: &Node, wanted: &Wanted) -> Result<bool> {
    Ok(current(node, wanted).await?.is_some())
}

async fn current(node: &Node, wanted: &Wanted) -> Result<Option<Installed>> {
    let Some(installed) = Installed::read(&node.paths)? else { return Ok(None) };
    if !is_wanted(&installed, wanted) || !installed.has_programs(&node.paths.bin())? {
        return Ok(None);
    }
    let names = Store::connect(node).await?.names().await?;
    Ok(installed.has_images(&names).then_some(installed))
}

/// Tells whether what is installed is what is wanted. What another version of this program built in another way is not.
fn is_wanted(installed: &Installed, wanted: &Wanted) -> bool {
    let version = wanted.version.to_string();
    let is_source = wanted.source == Source::Auto || wanted.source == installed.source;
    let is_recipe = installed.source != Source::Build
        || known::find(&version).is_ok_and(|known| recipe::key(known) == installed.key);
    is_source && is_recipe && installed.version == version
}

/// The source `build`.
async fn build(node: &Node, version: &str, report: Report<'_>) -> Result<Installed> {
    let known = known::find(version)?;
    let cache = cache_of(&node.paths)?;
    let entry = build::ensure(&cache, known, report).await?;
    // Nothing is recorded before all has been read and found right; until then it is copied already.
    let (altered, installed) = futures::join!(altered(&entry), install::entry(node, &entry, known, report));
    let altered = altered?;
    if altered.is_empty() {
        return installed;
    }
    tracing::warn!("{}", cache::damaged(&entry.directory, &altered));
    report(format!("{} files of the cache are damaged and made again", altered.len()));
    let entry = build::repair(&cache, known, &altered, report).await?;
    install::entry(node, &entry, known, report).await
}

/// Reads a whole entry, which takes a second or two, beside other work.
async fn altered(entry: &Entry) -> Result<Vec<String>> {
    let entry = entry.clone();
    let read = tokio::task::spawn_blocking(move || entry.altered());
    read.await.map_err(|error| Error::invalid("the component cache", error.to_string()))?
}

/// Returns the cache of an instance: its own, unless its configuration names another.
fn cache_of(paths: &Paths) -> Result<Cache> {
    let config = crate::config::Config::read(&paths.bootstrap_config())?;
    Cache::new(&config.components.cache.unwrap_or_else(|| paths.components()))
}

/// Fills a cache with a version, and returns its entry.
async fn fill_cache(cache: &Cache, known: &'static Known, report: Report<'_>) -> Result<Entry> {
    build::ensure(cache, known, report).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_installed_is_what_is_wanted() {
        let version = default_version();
        let wanted = |source: &str, version: &str| Wanted {
            source: source.parse().unwrap(),
            version: version.parse().unwrap(),
        };
        let key = recipe::key(known::find(version).unwrap());
        let installed = |source: &str, key: &str| Installed::new(source.parse().unwrap(), version, key);
        for (installed, wanted, expected) in [
            (installed("build", &key), wanted("auto", version), true),
            (installed("build", &key), wanted("build", version), true),
            (installed("build", &key), wanted("release", version), false),
            (installed("build", &key), wanted("build", "v1.36.1"), false),
            (installed("build", "v1.36.3-0"), wanted("auto", version), false),
            (installed("release", "x"), wanted("auto", version), true),
            (installed("release", "x"), wanted("build", version), false),
            (installed("bundle=/a", "x"), wanted("bundle=/a", version), true),
            (installed("bundle=/a", "x"), wanted("bundle=/b", version), false),
        ] {
            assert_eq!(is_wanted(&installed, &wanted), expected, "{installed:?} {wanted:?}");
        }
    }
}
