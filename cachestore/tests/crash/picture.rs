//! What a store holds, as its users see it: two stores with one picture are the same to everybody.

use cachestore::Store;
use cachestore::verify::Depth;

/// Returns everything that is not a time or a directory's name.
pub(crate) fn of(store: &Store) -> Vec<String> {
    let mut picture = Vec::new();
    for image in store.images() {
        let names: Vec<_> = image.names.iter().map(|name| (name.reference.to_string(), name.local)).collect();
        let digests: Vec<_> = image.repo_digests.iter().map(ToString::to_string).collect();
        picture.push(format!(
            "image {} {:?} {names:?} {digests:?} {:?} {}",
            image.id, image.origin, image.diff_ids, image.size_bytes
        ));
        for layer in store.image_layers(image.as_ref()).expect("its layers") {
            assert!(store.layer_tree(layer).is_dir(), "image {} lacks a tree", image.id);
        }
        for name in &image.names {
            let found = store.resolve(&name.reference.to_string()).expect("a name").map(|found| found.id);
            assert_eq!(found, Some(image.id), "{}", name.reference);
        }
    }
    let mut layers: Vec<String> = store
        .layer_uses()
        .expect("the layers")
        .iter()
        .map(|used| {
            let layer = &used.layer;
            format!(
                "layer {} {:?} {:?} {} {} {}",
                layer.diff_id,
                layer.key,
                layer.description,
                layer.tar_size_bytes,
                layer.content_size_bytes,
                used.images
            )
        })
        .collect();
    layers.sort();
    picture.extend(layers);
    for info in store.snapshots().expect("the snapshots") {
        let files = (info.kind == cachestore::snapshots::Kind::Active)
            .then(|| crate::fixture::names(&crate::fixture::own_directory(store, &info.name)));
        picture.push(format!(
            "snapshot {} {:?} {:?} {:?} {files:?}",
            info.name, info.kind, info.parent, info.labels
        ));
    }
    for kept in store.kept_blobs().expect("the kept blobs") {
        picture.push(format!("kept blob {} {}", kept.blob.digest, kept.blob.size_bytes));
    }
    let downloads = store.dir().join("p");
    for name in crate::fixture::names(&downloads) {
        let length = std::fs::metadata(downloads.join(&name)).expect("a download").len();
        // One that was only opened is as good as none.
        if length > 0 {
            picture.push(format!("download {name} {length}"));
        }
    }
    let checked = store.verify(Depth::Records, &mut drop).expect("it verifies");
    picture.push(format!("{} documents, settled: {}", checked.blobs, store.is_settled().expect("an answer")));
    picture
}
