//! The store's images in the words of the CRI.

use std::collections::HashMap;

use cachestore::images::Image;
use proto::cri;
use serde_json::json;

/// Describes an image.
pub(super) fn image(image: &Image, pinned: bool) -> cri::Image {
    let (uid, username) = user(&image.user);
    cri::Image {
        id: image.id.to_string(),
        repo_tags: image.names.iter().map(|name| name.reference.to_string()).collect(),
        repo_digests: image.repo_digests.iter().map(ToString::to_string).collect(),
        size: image.size_bytes,
        uid,
        username,
        spec: None,
        pinned: pinned || image.is_local(),
    }
}

/// Splits the user of a configuration: a number, or a name; a group behind it does not count.
fn user(user: &str) -> (Option<cri::Int64Value>, String) {
    let user = user.split(':').next().unwrap_or_default();
    match user.parse() {
        Ok(value) => (Some(cri::Int64Value { value }), String::new()),
        Err(_) => (None, user.to_owned()),
    }
}

/// What a verbose answer says: the configuration as containerd shows it, and what our store knows.
pub(super) fn verbose(image: &Image, config: &[u8]) -> HashMap<String, String> {
    let config: serde_json::Value = serde_json::from_slice(config).unwrap_or_default();
    let info = json!({ "chainID": image.chain, "imageSpec": config });
    let names =
        image.names.iter().map(|name| json!({ "name": name.reference.to_string(), "local": name.local }));
    let store = json!({
        "origin": image.origin.name(),
        "names": names.collect::<Vec<_>>(),
        "manifest": image.manifest,
        "diffIDs": image.diff_ids,
    });
    HashMap::from([("info".to_owned(), info.to_string()), ("store".to_owned(), store.to_string())])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_numbers_or_names() {
        for (text, uid, name) in [
            ("", None, ""),
            ("0", Some(0), ""),
            ("1002", Some(1002), ""),
            ("1003:users", Some(1003), ""),
            ("www-data", None, "www-data"),
            ("www-data:100", None, "www-data"),
        ] {
            let (found, username) = user(text);
            assert_eq!((found.map(|value| value.value), username.as_str()), (uid, name), "{text}");
        }
    }
}
