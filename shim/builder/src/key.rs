//! Cache keys: the digest of everything that a step's result depends on. Pure.
//!
//! A key begins with the chain ID of what the step stands on, so that a layer is only ever found on top of exactly the
//! bytes that it was made on.

use cachestore::Digest;
use cachestore::digest::Digester;

use crate::plan::{Chmod, CopyStep, MkdirStep, RunStep};

/// Changes whenever steps come to do something else.
const VERSION: u64 = 2;

/// Hashes fields so that no two lists of fields give the same bytes.
pub(crate) trait Fields {
    fn field(&mut self, bytes: &[u8]);
    fn number(&mut self, number: u64);
}

impl Fields for Digester {
    fn field(&mut self, bytes: &[u8]) {
        self.update(&(bytes.len() as u64).to_le_bytes());
        self.update(bytes);
    }

    fn number(&mut self, number: u64) {
        self.update(&number.to_le_bytes());
    }
}

fn start(kind: &str, below: Option<&Digest>) -> Digester {
    let mut digester = Digester::new();
    digester.number(VERSION);
    digester.field(kind.as_bytes());
    digester.field(below.map_or(&[], |chain| chain.as_bytes()));
    digester
}

fn list(digester: &mut Digester, items: &[String]) {
    digester.number(items.len() as u64);
    items.iter().for_each(|item| digester.field(item.as_bytes()));
}

/// The key of a `RUN`. Proxies are no part of it.
pub(crate) fn run(below: Option<&Digest>, step: &RunStep) -> String {
    let mut digester = start("run", below);
    list(&mut digester, &step.args);
    list(&mut digester, &step.env);
    digester.field(step.cwd.as_bytes());
    digester.field(step.user.as_bytes());
    format!("run:{}", digester.finish())
}

/// The key of a `WORKDIR`.
pub(crate) fn mkdir(below: Option<&Digest>, step: &MkdirStep) -> String {
    let mut digester = start("mkdir", below);
    digester.field(step.path.as_bytes());
    digester.field(step.user.as_bytes());
    format!("mkdir:{}", digester.finish())
}

/// The key of a `COPY` of sources with these digests.
pub(crate) fn copy(below: Option<&Digest>, step: &CopyStep, sources: &[Digest]) -> String {
    let mut digester = start("copy", below);
    digester.field(step.destination.path.as_bytes());
    digester.number(step.destination.is_directory.into());
    digester.field(step.chown.as_ref().map_or(&[], |owner| owner.0.as_bytes()));
    match &step.chmod {
        None => digester.number(0),
        Some(Chmod::Octal(mode)) => {
            digester.number(1);
            digester.number((*mode).into());
        }
        Some(Chmod::Symbolic(mode)) => {
            digester.number(2);
            digester.field(mode.text().as_bytes());
        }
    }
    digester.number(sources.len() as u64);
    sources.iter().for_each(|source| digester.field(source.as_bytes()));
    format!("copy:{}", digester.finish())
}

/// Names what a source selects in a stack of layers, to remember its digest by.
pub(crate) fn selector(source: &str) -> String {
    format!("v{VERSION} {source}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_matters_changes_the_key() {
        let step = RunStep {
            args: vec!["sh".into(), "-c".into()],
            env: vec!["A=1".into()],
            proxies: vec![],
            cwd: "/".into(),
            user: String::new(),
        };
        let chain = Digest::of(b"chain");
        let changes: [fn(&mut RunStep); 5] = [
            |step| step.args = vec!["sh-c".into()],
            |step| step.args = vec!["sh".into(), "-c".into(), String::new()],
            |step| step.env = vec!["A=2".into()],
            |step| step.cwd = "/x".into(),
            |step| step.user = "0".into(),
        ];
        let mut keys = vec![run(None, &step), run(Some(&chain), &step)];
        for change in changes {
            let mut changed = step.clone();
            change(&mut changed);
            keys.push(run(None, &changed));
        }
        let unique: std::collections::BTreeSet<_> = keys.iter().collect();
        assert_eq!(unique.len(), keys.len());
        let proxied = RunStep { proxies: vec!["HTTP_PROXY=x".into()], ..step.clone() };
        assert_eq!(run(None, &proxied), run(None, &step));
    }
}
