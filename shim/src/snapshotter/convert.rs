//! The store's snapshots in containerd's words.

use std::collections::HashMap;

use cachestore::snapshots::{Info, Kind, Labels, Mount};
use proto::snapshots as api;
use tonic::Status;

const LABELS: &str = "labels";

pub(super) fn mount(mount: Mount) -> proto::containerd::types::Mount {
    proto::containerd::types::Mount {
        r#type: mount.kind.to_owned(),
        source: mount.source,
        target: String::new(),
        options: mount.options,
    }
}

pub(super) fn info(info: Info) -> api::Info {
    let kind = match info.kind {
        Kind::Active => api::Kind::Active,
        Kind::View => api::Kind::View,
        Kind::Committed => api::Kind::Committed,
    };
    api::Info {
        name: info.name,
        parent: info.parent.unwrap_or_default(),
        kind: kind.into(),
        created_at: Some(timestamp(info.created_at)),
        updated_at: Some(timestamp(info.updated_at)),
        labels: info.labels.into_iter().collect(),
    }
}

fn timestamp(nanoseconds: i64) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: nanoseconds.div_euclid(1_000_000_000),
        nanos: i32::try_from(nanoseconds.rem_euclid(1_000_000_000)).unwrap_or(0),
    }
}

/// Reads which labels an update changes: all of them, or those that the mask names.
pub(super) fn label_change(
    wanted: HashMap<String, String>,
    mask: Option<prost_types::FieldMask>,
) -> Result<impl FnOnce(&mut Labels) + Send, Status> {
    let paths = mask.map(|mask| mask.paths).unwrap_or_default();
    let mut keys = Vec::new();
    for path in &paths {
        match path.strip_prefix("labels.") {
            Some(key) => keys.push(key.to_owned()),
            None if path == LABELS => {}
            None => {
                return Err(Status::invalid_argument(format!(
                    "only labels of a snapshot can change, not {path}"
                )));
            }
        }
    }
    let all = paths.is_empty() || paths.iter().any(|path| path == LABELS);
    Ok(move |labels: &mut Labels| {
        if all {
            *labels = wanted.into_iter().collect();
            return;
        }
        for key in keys {
            match wanted.get(&key) {
                Some(value) => drop(labels.insert(key, value.clone())),
                None => drop(labels.remove(&key)),
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_say_which_labels_change() {
        let before = Labels::from([("a".into(), "1".into()), ("b".into(), "2".into())]);
        let wanted = HashMap::from([("a".to_owned(), "9".to_owned()), ("c".to_owned(), "3".to_owned())]);
        for (paths, expected) in [
            (&[][..], "a=9 c=3"),
            (&["labels"], "a=9 c=3"),
            (&["labels.a"], "a=9 b=2"),
            (&["labels.b", "labels.c"], "a=1 c=3"),
        ] {
            let mask = prost_types::FieldMask { paths: paths.iter().map(ToString::to_string).collect() };
            let mut labels = before.clone();
            label_change(wanted.clone(), Some(mask)).unwrap()(&mut labels);
            let text: Vec<_> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
            assert_eq!(text.join(" "), expected, "{paths:?}");
        }
        let mask = prost_types::FieldMask { paths: vec!["kind".into()] };
        assert!(label_change(wanted, Some(mask)).is_err());
    }
}
