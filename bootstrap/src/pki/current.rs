//! Whether there is anything to be made or renewed: looks only.

use std::path::Path;
use std::time::SystemTime;

use super::certificate::{self, Signer};
use super::profile::{Authority, Names, SERVICE_ACCOUNTS, leaves};
use super::{examine_leaf, read_pair, read_secret};
use crate::error::{IoContext, Result};
use crate::files;

/// Tells whether [`super::ensure`] has nothing to do, and nobody reads what was before its last change.
pub(crate) fn is_current(directory: &Path, names: &Names, now: SystemTime) -> Result<bool> {
    if super::mark(directory).try_exists().at("examine", super::mark(directory))? {
        return Ok(false);
    }
    for authority in Authority::ALL {
        let found = read_pair(directory, authority.file())?;
        let Ok(signer) = found.and_then(|pair| Signer::open(&pair, authority.common_name(), now)) else {
            return Ok(false);
        };
        for leaf in leaves(names).iter().filter(|leaf| leaf.authority == authority) {
            if examine_leaf(directory, leaf, &signer, now)?.is_err() {
                return Ok(false);
            }
        }
    }
    let [private, public] =
        ["key", "pub"].map(|extension| directory.join(SERVICE_ACCOUNTS).with_extension(extension));
    let Some(Ok(key)) = read_secret(&private)?.map(|pem| certificate::parse_key(&pem)) else {
        return Ok(false);
    };
    files::is(&public, &key.public_key_pem())
}
