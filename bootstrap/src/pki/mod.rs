//! Keys and certificates of the cluster, in kubeadm's layout: made where they are missing, made anew before they end.
//!
//! A key is written before its certificate. A process that is killed in between leaves a pair that does not belong together,
//! which the next one makes anew; what an authority has signed is looked at after the authority. A mark stays from before the first
//! file until whoever reads them was started again, should the process that knows of it be killed.

mod certificate;
mod current;
mod profile;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::error::{Error, IoContext, Result};
use crate::files;
use crate::kubeconfig::{self, Entry};
pub(crate) use certificate::Reason;
use certificate::{Pair, Signer};
pub(crate) use current::is_current;
use profile::{Authority, Form, Leaf, SERVICE_ACCOUNTS, leaves, readers};
pub(crate) use profile::{Names, Reader};

const PRIVATE: u32 = 0o600;
const PUBLIC: u32 = 0o644;
/// Times that a clock which was ever set does not show: before 2020, after 9000.
const CLOCK: std::ops::Range<Duration> =
    Duration::from_secs(1_577_836_800)..Duration::from_secs(221_845_392_000);

/// What was made or made anew, in the order in which that was done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) renewals: Vec<Renewal>,
    /// An earlier change was not settled: nobody knows what it was.
    is_resumed: bool,
}

/// One certificate with its key, or the keys of service accounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Renewal {
    /// Its path below the directory, without the extension of certificate and key.
    pub(crate) file: &'static str,
    pub(crate) reason: Reason,
}

impl Change {
    /// Tells who has to be started again to see what has changed. Somebody who was never started is among them.
    pub(crate) fn readers(&self) -> BTreeSet<Reader> {
        let resumed = if self.is_resumed { &Reader::ALL[..] } else { &[] };
        self.renewals.iter().flat_map(|renewal| readers(renewal.file)).chain(resumed).copied().collect()
    }

    /// Says what was done, one thing a line; nothing of it is secret.
    pub(crate) fn lines(&self) -> Vec<String> {
        let is_first = self.renewals.iter().all(|renewal| renewal.reason == Reason::Missing);
        match self.renewals.len() {
            0 => Vec::new(),
            count if is_first => vec![format!("made {count} certificates and keys")],
            _ => self.renewals.iter().map(|Renewal { file, reason }| format!("{file}: {reason}")).collect(),
        }
    }
}

/// Makes or renews everything that is missing, damaged, near its end or outdated below a directory that is `/etc/kubernetes`
/// in the box. With an authority goes all that it has signed.
///
/// # Errors
/// A file cannot be read or written, or the clock is wrong; what was written until then is whole.
pub(crate) fn ensure(directory: &Path, names: &Names, now: SystemTime) -> Result<Change> {
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    if !CLOCK.contains(&since) {
        return Err(Error::invalid(
            "the machine's clock",
            format!("is wrong: {} s since 1970", since.as_secs()),
        ));
    }
    files::ensure_directory(&directory.join("pki/etcd"), 0o700)?;
    let is_resumed = mark(directory).try_exists().at("examine", mark(directory))?;
    let mut change = Change { renewals: Vec::new(), is_resumed };
    for authority in Authority::ALL {
        let signer = ensure_authority(directory, authority, now, &mut change)?;
        for leaf in leaves(names).iter().filter(|leaf| leaf.authority == authority) {
            ensure_leaf(directory, leaf, &signer, now, &mut change)?;
        }
    }
    ensure_service_accounts(directory, &mut change)?;
    Ok(change)
}

/// Takes note that everybody who reads what [`ensure`] has changed was started again.
pub(crate) fn settle(directory: &Path) -> Result<()> {
    files::remove(&mark(directory))
}

fn mark(directory: &Path) -> PathBuf {
    directory.join("pki/.unsettled")
}

/// Says that a file is about to change.
fn begin(directory: &Path, change: &Change) -> Result<()> {
    if change.renewals.is_empty() { files::put(&mark(directory), b"", PRIVATE) } else { Ok(()) }
}

fn ensure_authority(
    directory: &Path,
    authority: Authority,
    now: SystemTime,
    change: &mut Change,
) -> Result<Signer> {
    let (file, common_name) = (authority.file(), authority.common_name());
    let found = read_pair(directory, file)?.and_then(|pair| Signer::open(&pair, common_name, now));
    let reason = match found {
        Ok(signer) => return Ok(signer),
        // Everything would be thrown away because of a clock.
        Err(reason @ Reason::NotYetValid) => {
            let problem = format!("{} {reason}; set the machine's clock", directory.join(file).display());
            return Err(Error::invalid("the cluster's authority", problem));
        }
        Err(reason) => reason,
    };
    let (signer, pair) = Signer::new(common_name, now).map_err(|problem| Error::invalid(file, problem))?;
    begin(directory, change)?;
    write_pair(directory, file, &pair)?;
    change.renewals.push(Renewal { file, reason });
    Ok(signer)
}

/// Says why what is there of a leaf has to be made anew, if it has.
fn examine_leaf(
    directory: &Path,
    leaf: &Leaf,
    signer: &Signer,
    now: SystemTime,
) -> Result<std::result::Result<(), Reason>> {
    let found = match &leaf.form {
        Form::Pair => read_pair(directory, leaf.file)?,
        Form::Kubeconfig { server } => read_kubeconfig(&directory.join(leaf.file), server, signer)?,
    };
    Ok(found.and_then(|pair| signer.examine(&pair, &leaf.profile, now)))
}

fn ensure_leaf(
    directory: &Path,
    leaf: &Leaf,
    signer: &Signer,
    now: SystemTime,
    change: &mut Change,
) -> Result<()> {
    let Err(reason) = examine_leaf(directory, leaf, signer, now)? else { return Ok(()) };
    let pair = signer.issue(&leaf.profile, now).map_err(|problem| Error::invalid(leaf.file, problem))?;
    begin(directory, change)?;
    match &leaf.form {
        Form::Pair => write_pair(directory, leaf.file, &pair)?,
        Form::Kubeconfig { server } => {
            let entry = Entry {
                server: server.clone(),
                tls_server_name: None,
                authority: signer.certificate.clone(),
                certificate: pair.certificate,
                key: pair.key,
            };
            let text = kubeconfig::merge(None, &entry)
                .map_err(|problem| Error::invalid(leaf.file, problem.to_string()))?;
            files::put(&directory.join(leaf.file), text.as_bytes(), PRIVATE)?;
        }
    }
    change.renewals.push(Renewal { file: leaf.file, reason });
    Ok(())
}

/// The public key is written after the private one, and alone if only that is wrong.
fn ensure_service_accounts(directory: &Path, change: &mut Change) -> Result<()> {
    let [private, public] =
        ["key", "pub"].map(|extension| directory.join(SERVICE_ACCOUNTS).with_extension(extension));
    let found = read_secret(&private)?.ok_or(Reason::Missing).and_then(|pem| certificate::parse_key(&pem));
    let (key, mut reason) = match found {
        Ok(key) => (key, None),
        Err(reason) => {
            let key = certificate::new_key().map_err(|problem| Error::invalid(SERVICE_ACCOUNTS, problem))?;
            begin(directory, change)?;
            files::put(&private, key.serialize_pem().as_bytes(), PRIVATE)?;
            (key, Some(reason))
        }
    };
    let expected = key.public_key_pem();
    let found = files::read_if_there(&public)?;
    if found.as_ref() != Some(&expected) {
        begin(directory, change)?;
        files::put(&public, expected.as_bytes(), PUBLIC)?;
        let other = found.map_or(Reason::Missing, |_| Reason::Outdated("public key"));
        reason = reason.or(Some(other));
    }
    change.renewals.extend(reason.map(|reason| Renewal { file: SERVICE_ACCOUNTS, reason }));
    Ok(())
}

/// Reads a file that only its owner may read, and sees to it that it is so.
fn read_secret(path: &Path) -> Result<Option<String>> {
    let text = files::read_if_there(path)?;
    if text.is_some() {
        let mode = path.metadata().at("examine", path)?.permissions().mode() & 0o7777;
        if mode != PRIVATE {
            let permissions = std::fs::Permissions::from_mode(PRIVATE);
            std::fs::set_permissions(path, permissions).at("change the mode of", path)?;
        }
    }
    Ok(text)
}

/// What was found, or why it has to be made anew.
type Found = std::result::Result<Pair, Reason>;

fn read_pair(directory: &Path, file: &str) -> Result<Found> {
    let path = directory.join(file);
    let key = read_secret(&path.with_extension("key"))?;
    let certificate = files::read_if_there(&path.with_extension("crt"))?;
    Ok(key.zip(certificate).map(|(key, certificate)| Pair { certificate, key }).ok_or(Reason::Missing))
}

fn write_pair(directory: &Path, file: &str, pair: &Pair) -> Result<()> {
    let path = directory.join(file);
    files::put(&path.with_extension("key"), pair.key.as_bytes(), PRIVATE)?;
    files::put(&path.with_extension("crt"), pair.certificate.as_bytes(), PUBLIC)
}

fn read_kubeconfig(path: &Path, server: &str, signer: &Signer) -> Result<Found> {
    let Some(text) = read_secret(path)? else { return Ok(Err(Reason::Missing)) };
    let entry = match kubeconfig::read(&text) {
        Ok(entry) => entry,
        Err(problem) => return Ok(Err(Reason::Damaged(problem.to_string()))),
    };
    if entry.authority != signer.certificate {
        return Ok(Err(Reason::OtherAuthority));
    }
    if entry.server != server || entry.tls_server_name.is_some() {
        return Ok(Err(Reason::Outdated("server")));
    }
    Ok(Ok(Pair { certificate: entry.certificate, key: entry.key }))
}
