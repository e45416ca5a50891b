//! The documents of the image that a build makes. Pure.

use cachestore::Digest;
use cachestore::layer::Layer;
use cachestore::oci::config::{History, ImageConfig, RootFs};
use cachestore::oci::manifest::{BlobRef, Compression, LayerRef, Manifest};

use crate::error::Result;

/// What BuildKit writes as the comment of entries for layers that have none.
const MISSING_COMMENT: &str = "buildkit.exporter.image.v0";
const MISSING_STEP: &str = "created by buildkit";

/// The configuration and the manifest of an image, byte for byte.
#[derive(Debug)]
pub(crate) struct Documents {
    pub(crate) config: Vec<u8>,
    pub(crate) manifest: Vec<u8>,
}

/// Completes the configuration of a stage with its layers, bottom first.
pub(crate) fn documents(config: &ImageConfig, layers: &[Layer]) -> Result<Documents> {
    let times: Vec<String> = layers.iter().map(|layer| time(layer.created_at)).collect();
    let history = complete_history(config.history.clone(), &times);
    let created = history.iter().rev().find_map(|entry| entry.created.clone());
    let rootfs = RootFs { diff_ids: layers.iter().map(|layer| layer.diff_id).collect(), ..RootFs::default() };
    let config = ImageConfig { created, history, rootfs, ..config.clone() }.to_json()?;
    let layer = |layer: &Layer| LayerRef {
        blob: BlobRef { digest: layer.diff_id, size_bytes: layer.tar_size_bytes },
        compression: Compression::None,
    };
    let manifest = Manifest {
        config: BlobRef { digest: Digest::of(&config), size_bytes: config.len() as u64 },
        layers: layers.iter().map(layer).collect(),
    };
    Ok(Documents { config, manifest: manifest.to_json()? })
}

/// Writes a time as Go does.
fn time(nanoseconds: i64) -> String {
    jiff::Timestamp::from_nanosecond(nanoseconds.into()).unwrap_or_default().to_string()
}

/// Fills in the times of entries, and the entries of layers that have none, as BuildKit does: a layer's entry has the
/// layer's time; entries between have that of the first new layer, or else of the last one before.
fn complete_history(mut history: Vec<History>, times: &[String]) -> Vec<History> {
    let mut layer = 0;
    for entry in &mut history {
        // More entries than layers: the configuration of the base image is wrong.
        entry.empty_layer |= layer >= times.len();
        if !entry.empty_layer {
            entry.created.get_or_insert_with(|| times[layer].clone());
            layer += 1;
        }
    }
    history.extend(times[layer..].iter().map(|time| History {
        created: Some(time.clone()),
        created_by: MISSING_STEP.into(),
        comment: MISSING_COMMENT.into(),
        ..History::default()
    }));
    let first_open = history.iter().position(|entry| entry.created.is_none());
    let Some(first_open) = first_open else { return history };
    let next = history[first_open..].iter().find_map(|entry| entry.created.clone());
    let before = history[..first_open].iter().rev().find_map(|entry| entry.created.clone());
    let mut last = next.or(before);
    for entry in &mut history[first_open..] {
        match &entry.created {
            Some(created) => last = Some(created.clone()),
            None => entry.created.clone_from(&last),
        }
    }
    history
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes a history as `b1 e- l2`: `l` a layer, `e` none; then the time, or `-`.
    fn history(text: &str) -> Vec<History> {
        let entry = |word: &str| History {
            empty_layer: word.starts_with('e'),
            created: Some(word[1..].to_owned()).filter(|time| time != "-"),
            ..History::default()
        };
        text.split_whitespace().map(entry).collect()
    }

    fn shown(history: &[History]) -> String {
        let word = |entry: &History| {
            let kind = if entry.empty_layer { 'e' } else { 'l' };
            format!("{kind}{}", entry.created.as_deref().unwrap_or("-"))
        };
        history.iter().map(word).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn every_entry_gets_a_time() {
        for (given, times, expected) in [
            ("l- l-", &["1", "2"][..], "l1 l2"),
            ("lB e- l- e-", &["x", "5"], "lB e5 l5 e5"),
            ("lB e- e-", &["x"], "lB eB eB"),
            ("lB eB e- l- e- l- e-", &["x", "5", "6"], "lB eB e5 l5 e5 l6 e6"),
            ("e- e-", &[], "e- e-"),
            ("", &["1", "2"], "l1 l2"),
            ("lB lB lB", &["1"], "lB eB eB"),
            ("l-", &["1", "2"], "l1 l2"),
        ] {
            let times: Vec<_> = times.iter().map(ToString::to_string).collect();
            assert_eq!(shown(&complete_history(history(given), &times)), expected, "{given}");
        }
    }

    #[test]
    fn times_are_written_as_go_writes_them() {
        assert_eq!(time(1_700_000_000_123_456_789), "2023-11-14T22:13:20.123456789Z");
        assert_eq!(time(1_700_000_000_120_000_000), "2023-11-14T22:13:20.12Z");
        assert_eq!(time(1_700_000_000_000_000_000), "2023-11-14T22:13:20Z");
    }
}
