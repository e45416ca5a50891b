//! The store's values in the words of the control API, and docker's words for `inspect` and `history`.

use cachestore::Digest;
use cachestore::images::Image;
use cachestore::oci::config::ImageConfig;
use proto::control as api;
use serde_json::{Value, json};

use crate::images::Images;

/// Reads a time of RFC 3339.
pub(super) fn timestamp(text: Option<&str>) -> Option<prost_types::Timestamp> {
    let time: jiff::Timestamp = text?.parse().ok()?;
    Some(prost_types::Timestamp { seconds: time.as_second(), nanos: time.subsec_nanosecond() })
}

/// Turns the store's time into the API's.
pub(super) fn from_nanoseconds(nanoseconds: i64) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: nanoseconds.div_euclid(1_000_000_000),
        nanos: i32::try_from(nanoseconds.rem_euclid(1_000_000_000)).unwrap_or(0),
    }
}

pub(super) fn image(image: &Image) -> api::Image {
    api::Image {
        id: image.id.to_string(),
        names: image.names.iter().map(|name| name.reference.to_string()).collect(),
        digests: image.repo_digests.iter().map(ToString::to_string).collect(),
        created_at: timestamp(image.created.as_deref()),
        size_bytes: image.size_bytes,
        origin: image.origin.name().to_owned(),
        manifest: image.manifest.to_string(),
    }
}

/// Describes an image as `docker inspect` does, with what only this store knows under `Shim`.
pub(super) fn inspect(images: &Images, image: &Image, config: &[u8], layers: &[(Digest, String)]) -> Value {
    let raw: Value = serde_json::from_slice(config).unwrap_or_default();
    let text = |name: &str| raw.get(name).cloned().unwrap_or_else(|| json!(""));
    let names = image.names.iter().map(|name| {
        let answered = images.answered(&name.reference);
        json!({
            "Name": name.reference.to_string(),
            "Local": name.local,
            "PullPolicy": images.policies.of(&name.reference).name(),
            "AnsweredPulls": answered.map_or(0, |answered| answered.count),
            "LastAnsweredPull": answered.and_then(|answered| jiff::Timestamp::try_from(answered.last).ok()),
        })
    });
    let layers =
        layers.iter().map(|(diff_id, directory)| json!({ "DiffID": diff_id, "Directory": directory }));
    let mut object = json!({
        "Id": image.id,
        "RepoTags": image.names.iter().map(|name| name.reference.familiar()).collect::<Vec<_>>(),
        "RepoDigests": image.repo_digests.iter().map(cachestore::Reference::familiar).collect::<Vec<_>>(),
        "Comment": raw["history"].as_array().and_then(|history| history.last()).map_or(json!(""), |last| last.get("comment").cloned().unwrap_or_else(|| json!(""))),
        "Created": text("created"),
        "Author": text("author"),
        "Config": raw.get("config").cloned().unwrap_or_default(),
        "Architecture": text("architecture"),
        "Os": text("os"),
        "Size": image.size_bytes,
        "RootFS": { "Type": "layers", "Layers": image.diff_ids },
        "Shim": {
            "Origin": image.origin.name(),
            "Manifest": image.manifest,
            "Names": names.collect::<Vec<_>>(),
            "Layers": layers.collect::<Vec<_>>(),
        },
    });
    if let Some(variant) = raw.get("variant") {
        object["Variant"] = variant.clone();
    }
    object
}

/// Lists how an image came to be, the newest step first; sizes are those of the layers, bottom first.
pub(super) fn history(id: Digest, config: &ImageConfig, sizes: &[u64]) -> Vec<api::HistoryEntry> {
    let mut sizes = sizes.iter().copied();
    let mut entries: Vec<_> = config
        .history
        .iter()
        .map(|step| api::HistoryEntry {
            image_id: String::new(),
            created_at: timestamp(step.created.as_deref()),
            created_by: step.created_by.clone(),
            size_bytes: if step.empty_layer { 0 } else { sizes.next().unwrap_or(0) },
            comment: step.comment.clone(),
            empty_layer: step.empty_layer,
        })
        .collect();
    entries.reverse();
    if let Some(newest) = entries.first_mut() {
        newest.image_id = id.to_string();
    }
    entries
}

#[cfg(test)]
mod tests {
    use cachestore::oci::config::History;

    use super::*;

    #[test]
    fn sizes_belong_to_the_steps_that_made_layers() {
        let step = |created_by: &str, empty_layer| History {
            created_by: created_by.into(),
            empty_layer,
            created: Some("2026-01-02T03:04:05.5Z".into()),
            ..History::default()
        };
        let config = ImageConfig {
            history: vec![step("a", false), step("env", true), step("b", false)],
            ..ImageConfig::default()
        };
        let entries = history(Digest::of(b""), &config, &[10, 20]);
        let shown: Vec<_> =
            entries.iter().map(|entry| (entry.created_by.as_str(), entry.size_bytes)).collect();
        assert_eq!(shown, [("b", 20), ("env", 0), ("a", 10)]);
        assert_eq!(entries[0].image_id, Digest::of(b"").to_string());
        assert_eq!(entries[1].image_id, "");
        assert_eq!(entries[0].created_at.unwrap().nanos, 500_000_000);
    }
}
