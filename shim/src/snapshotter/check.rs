//! What containerd may give to be recorded: names and labels, within limits.

use std::collections::HashMap;

use tonic::Status;

/// The longest name of a snapshot. containerd makes names of paths, which take 4096 bytes at most, and prefixes.
const MAX_NAME_BYTES: usize = 8 << 10;
/// The longest label, key and value together: containerd's own limit.
const MAX_LABEL_BYTES: usize = 4096;
/// How much of something that is too long an answer shows, in characters.
const SHOWN: usize = 64;
/// Their values become options of a mount.
const MAPPINGS: [&str; 2] = ["containerd.io/snapshot/uidmapping", "containerd.io/snapshot/gidmapping"];

/// Checks the name of a snapshot that is to be made.
pub(super) fn name(name: &str) -> Result<(), Status> {
    if name.is_empty() {
        return Err(Status::invalid_argument("a snapshot needs a name"));
    }
    if name.len() > MAX_NAME_BYTES {
        let length = name.len();
        return Err(Status::invalid_argument(format!(
            "a snapshot's name takes {length} bytes, {MAX_NAME_BYTES} are allowed"
        )));
    }
    if name.contains('\0') {
        return Err(Status::invalid_argument(format!("a snapshot's name has a NUL: {name:?}")));
    }
    Ok(())
}

/// Checks labels that are to be recorded.
pub(super) fn labels(labels: &HashMap<String, String>) -> Result<(), Status> {
    for (key, value) in labels {
        let length = key.len() + value.len();
        if length > MAX_LABEL_BYTES {
            let key: String = key.chars().take(SHOWN).collect();
            return Err(Status::invalid_argument(format!(
                "the label {key:?} takes {length} bytes, {MAX_LABEL_BYTES} are allowed"
            )));
        }
        let is_mapping = || value.chars().all(|c| c.is_ascii_digit() || c == ':' || c == ',');
        if MAPPINGS.contains(&key.as_str()) && !is_mapping() {
            return Err(Status::invalid_argument(format!("the label {key} is no mapping: {value:?}")));
        }
    }
    Ok(())
}
