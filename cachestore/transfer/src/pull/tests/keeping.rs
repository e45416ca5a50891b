//! Pulls that keep the blobs of what they download.

use std::sync::Arc;

use cachestore::Digest;
use cachestore::archive::Saved;
use cachestore::gc::{CachePolicy, Mode};

use super::image::{Image, Layer, bytes, tar_of};
use super::kit::{Shelf, World};

/// A layer of each form: one that is compressed, one that is not, and one that depends on those below.
fn image() -> Image {
    Image::new(&[
        Layer::gzip(&tar_of("first", 50_000)),
        Layer::plain(&tar_of("second", 50_000)),
        Layer::gzip(&tar_of("implied/third", 50_000)),
    ])
}

fn blobs(layers: &[Layer]) -> Vec<(Digest, Digest)> {
    let mut blobs: Vec<_> = layers.iter().map(|layer| (layer.digest(), layer.diff_id)).collect();
    blobs.sort();
    blobs
}

#[tokio::test]
async fn blobs_are_kept_until_their_layers_go() {
    let image = image();
    let shelf = Shelf::default().with("1", &image);
    let server = shelf.serve().await;
    let world = World::keeping();
    let pulled = world.pull(&server, "1").await.unwrap();
    assert_eq!(world.kept(), blobs(&image.layers));
    assert_eq!(world.unfinished(), [""; 0]);
    world.verify();

    // An archive of it is what the registry has.
    let mut archive = Vec::new();
    let saved = Saved { image: Arc::clone(&pulled.image), names: vec![] };
    world.store.save(&[saved], &mut archive).unwrap();
    let manifest = bytes(&image.manifest);
    assert_eq!(pulled.digest, Digest::of(&manifest));
    for part in image.layers.iter().map(|layer| &layer.blob).chain([&manifest]) {
        let name = format!("blobs/sha256/{}", Digest::of(part).hex());
        let at = archive.windows(name.len()).position(|window| window == name.as_bytes()).unwrap();
        assert_eq!(&archive[at + 512..at + 512 + part.len()], &part[..]);
    }

    world.store.remove_image(&pulled.image.id).unwrap();
    let freed = |mode| world.store.collect(CachePolicy::DROP_ALL, mode).unwrap().freed_bytes;
    let expected = world.store.layers_usage().unwrap().size_bytes;
    assert!(expected > 300_000, "trees and blobs are {expected} bytes");
    assert_eq!(freed(Mode::DryRun), expected);
    assert_eq!(world.kept().len(), 3);
    assert_eq!(freed(Mode::Remove), expected);
    assert_eq!(world.kept(), []);
    assert_eq!(std::fs::read_dir(world.store.dir().join("b")).unwrap().count(), 0);
    world.verify();
}

#[tokio::test]
async fn what_was_there_is_not_fetched_to_be_kept() {
    let image = image();
    let more = Image::new(&[&image.layers[..1], &[Layer::gzip(&tar_of("more", 20_000))]].concat());
    let shelf = Shelf::default().with("1", &image).with("2", &more);
    let server = shelf.serve().await;
    let mut world = World::new();
    world.pull(&server, "1").await.unwrap();
    assert_eq!(world.kept(), []);
    world.puller = world.puller.clone().keep_blobs(true);
    world.pull(&server, "1").await.unwrap();
    world.pull(&server, "2").await.unwrap();
    assert_eq!(world.kept(), blobs(&more.layers[1..]));
    world.verify();
}

#[tokio::test]
async fn a_pull_that_is_gone_on_from_keeps_all_of_the_blob() {
    for layer in image().layers {
        let image = Image::new(std::slice::from_ref(&layer));
        let shelf = Shelf::default().with("1", &image);
        let server = shelf.serve().await;
        // What an earlier pull left, right or wrong.
        for (left, spoilt) in [(1000, false), (1000, true), (layer.blob.len(), false)] {
            let world = World::keeping();
            let mut earlier = layer.blob[..left].to_vec();
            earlier[0] ^= u8::from(spoilt);
            world.leave_partial(&layer, &earlier);
            world.pull(&server, "1").await.unwrap();
            assert_eq!(world.kept(), blobs(&image.layers));
            assert_eq!(world.unfinished(), [""; 0]);
            world.verify();
        }
    }
}
