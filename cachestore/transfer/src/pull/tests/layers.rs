//! Layers that are not what they should be, and images whose layers have something in common.

use cachestore::Digest;
use cachestore::error::chain;

use super::image::{Image, Layer, Tar, gzip, noise, tar_of};
use super::kit::{Events, Shelf, World, reference};
use crate::testing::Answer;
use crate::{Phase, PullError};

const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";

/// A tar whose directory is implied: what it looks like depends on the layers below.
fn dependent(name: &str, length: usize) -> Layer {
    Layer::plain(&tar_of(&format!("implied/{name}"), length))
}

#[tokio::test]
async fn archives_that_cannot_be_unpacked_are_refused_by_name() {
    let tar = tar_of("file", 200_000);
    let packed = gzip(&tar);
    let long = Tar::default().member(b'x', "x", "", &vec![b'x'; (1 << 20) + 1]).file("file", b"").end();
    let garbage = noise(7, 100_000);
    for (what, layer, problem) in [
        ("climbs out", Layer::gzip(&Tar::default().file("../evil", b"x").end()), "../evil"),
        (
            "through a link",
            Layer::gzip(&Tar::default().member(b'2', "evil", "/tmp", b"").file("evil/x", b"").end()),
            "evil",
        ),
        ("huge header", Layer::gzip(&long), "larger than 1 MiB"),
        ("no tar", Layer::gzip(&garbage), "invalid archive"),
        ("no gzip", Layer::new(GZIP, &tar, garbage.clone()), "cannot read the archive: "),
        ("no zstd", Layer::new(ZSTD, &tar, garbage), "cannot read the archive: "),
        (
            "gzip that ends early",
            Layer::new(GZIP, &tar, &packed[..packed.len() / 2]),
            "cannot read the archive: ",
        ),
        ("gzip with more behind", Layer::new(GZIP, &tar, [&packed[..], b"more"].concat()), "cannot read"),
        ("gzip for zstd", Layer::new(ZSTD, &tar, packed.clone()), "cannot read the archive: "),
        ("tar that ends early", Layer::plain(&tar[..100_000]), "it ends in the middle of a member"),
        (
            "another tar",
            Layer::new(GZIP, &tar, gzip(&tar_of("other", 200_000))),
            &format!("its tar has the diff ID {}", Digest::of(&tar_of("other", 200_000))),
        ),
    ] {
        let image = Image::new(&[Layer::plain(&tar_of("first", 1000)), layer.clone()]);
        let shelf = Shelf::default().with("1", &image);
        let server = shelf.serve().await;
        let world = World::new();
        let error = world.pull(&server, "1").await.unwrap_err();
        assert!(matches!(error, PullError::Layer { .. }), "{what}: {error:?}");
        let named = format!("cannot unpack layer {} of {}: ", layer.digest(), reference(&server, "1"));
        let text = chain(&error);
        assert!(text.starts_with(&named) && text.contains(problem), "{what}: {text}");
        assert!(world.store.images().is_empty());
        // The other layer may be under way when this one fails; what came of it stays.
        world.idle().await;
        assert!(!world.partial(&layer).exists(), "{what}");
        world.verify();
        assert_eq!(chain(&world.pull(&server, "1").await.unwrap_err()), text, "it stays refused");
    }
}

#[tokio::test]
async fn a_layer_that_unpacks_to_a_thousand_times_its_size_takes_no_space() {
    let zeros = vec![0; 64 << 20];
    let layer = Layer::gzip(&Tar::default().file("zeros", &zeros).end());
    assert!(layer.blob.len() < 1 << 20);
    let image = Image::new(&[layer]);
    let server = Shelf::default().with("1", &image).serve().await;
    let world = World::new();
    let pulled = world.pull(&server, "1").await.unwrap();
    assert!(world.read(&pulled.image, "zeros") == zeros);
    assert!(world.store.layers_usage().unwrap().size_bytes < 1 << 20);
    world.verify();
}

#[tokio::test]
async fn a_layer_is_held_to_digest_and_size() {
    type Spoil = fn(&mut Vec<u8>);
    type Change = fn(Answer) -> Answer;
    let spoils: [(&str, Spoil, Change, &str); 6] = [
        ("bit", |blob| blob[5000] ^= 1, |answer| answer, "the bytes have digest"),
        ("header", |blob| blob[5] ^= 1, |answer| answer, "the bytes have digest"),
        ("longer", |blob| blob.push(0), |answer| answer, "it has 10753 bytes, and the manifest says 10752"),
        ("longer, no length", |blob| blob.push(0), Answer::chunked, "it is longer than the 10752 bytes"),
        (
            "shorter",
            |blob| blob.truncate(blob.len() - 1),
            |answer| answer,
            "it has 10751 bytes, and the manifest says",
        ),
        (
            "shorter, no length",
            |blob| blob.truncate(blob.len() - 1),
            Answer::chunked,
            "it ended after 10751 of 10752",
        ),
    ];
    for (what, spoil, change, problem) in spoils {
        let image = Image::of(&[("file", 9000)]);
        let shelf = Shelf::default().with("1", &image);
        let mut blob = image.layers[0].blob.clone();
        spoil(&mut blob);
        shelf.replace("1 1", blob);
        let server =
            shelf.serve_with(move |label, answer| if label == "1 1" { change(answer) } else { answer }).await;
        let world = World::impatient();
        let error = world.fails(&server, "1").await;
        let digest = image.layers[0].digest();
        let named = format!("cannot pull blob {digest} of {0}/app from http://{0}: ", server.host);
        assert!(error.starts_with(&named) && error.contains(problem), "{what}: {error}");
        assert!(world.store.images().is_empty());
        world.verify();
        if what == "shorter, no length" {
            assert_eq!(world.unfinished(), ["p 10751"], "what may yet go on stays");
        } else {
            assert_eq!(world.unfinished(), [""; 0], "{what}");
        }
        // What went wrong does not stand in the way of the next pull.
        shelf.replace("1 1", image.layers[0].blob.clone());
        let server = shelf.serve().await;
        assert_eq!(world.pull(&server, "1").await.unwrap().image.id, image.id(), "{what}");
        world.verify();
    }
}

#[tokio::test]
async fn another_endpoint_is_asked_for_a_layer_whose_bytes_were_wrong() {
    let image = Image::new(&[Layer::gzip(&tar_of("file", 300_000))]);
    let good = Shelf::default().with("1", &image);
    for at in [3, 150_000] {
        let bad = Shelf::default().with("1", &image);
        let mut blob = image.layers[0].blob.clone();
        blob[at] ^= 0xff;
        bad.replace("1 1", blob);
        let (mirror, registry) = (bad.serve().await, good.serve().await);
        let world = World::new();
        world.mirrors(&[&mirror, &registry]);
        let pulled = world.pull_name("r.example/app:1", std::sync::Arc::new(|_| {})).await.unwrap();
        assert_eq!(pulled.image.id, image.id());
        assert_eq!((bad.asked(&mirror).len(), good.asked(&registry)), (3, vec!["1 1".to_owned()]));
        assert_eq!(world.unfinished(), [""; 0]);
        world.verify();

        let (mirror, registry) = (bad.serve().await, bad.serve().await);
        world.mirrors(&[&mirror, &registry]);
        let world = World::new();
        world.mirrors(&[&mirror, &registry]);
        let error = world.pull_name("r.example/app:1", std::sync::Arc::new(|_| {})).await.unwrap_err();
        for server in [&mirror, &registry] {
            let part = format!("from {}: the bytes have digest", server.url());
            assert!(error.to_string().contains(&part), "{error}");
        }
        assert_eq!(world.unfinished(), [""; 0]);
    }
}

#[tokio::test]
async fn layers_that_are_here_are_not_fetched() {
    let base = Layer::plain(&Tar::default().directory("implied").file("implied/base", b"0").end());
    let (middle, top) = (dependent("middle", 500), Layer::gzip(&tar_of("top", 500)));
    let small = Image::new(&[base.clone(), middle.clone()]);
    let big = Image::new(&[base.clone(), middle.clone(), top.clone()]);
    let other = Image::new(&[top.clone(), middle.clone()]);
    let shelf = Shelf::default().with("small", &small).with("big", &big).with("other", &other);
    let server = shelf.serve().await;
    let world = World::new();
    world.pull(&server, "small").await.unwrap();
    let (observer, mut events) = Events::new();
    world.pull_name(&reference(&server, "big"), observer).await.unwrap();
    let all = ["big", "big 3", "big config", "small", "small 1", "small 2", "small config"];
    assert_eq!(shelf.asked(&server), all);
    assert_eq!(events.of(&middle), [(Phase::Exists, middle.blob.len() as u64)]);
    // On other layers the middle one may look different.
    let pulled = world.pull(&server, "other").await.unwrap();
    assert_eq!(world.read(&pulled.image, "implied/middle"), noise_of("implied/middle", 500));
    assert_eq!(shelf.asked(&server).iter().filter(|label| *label == "small 2").count(), 2);
    assert_eq!(shelf.asked(&server).iter().filter(|label| *label == "big 3").count(), 1);
    world.verify();
}

fn noise_of(name: &str, length: usize) -> Vec<u8> {
    tar_of(name, length)[512..512 + length].to_vec()
}

#[tokio::test]
async fn a_layer_that_an_image_has_several_times_is_fetched_once() {
    let plain = Layer::plain(&tar_of("plain", 100));
    for layer in [plain.clone(), dependent("file", 100)] {
        let image = Image::new(&[layer.clone(), plain.clone(), layer.clone(), layer.clone(), layer.clone()]);
        let shelf = Shelf::default().with("1", &image);
        let server = shelf.serve().await;
        let world = World::new();
        for _ in 0..2 {
            let pulled = world.pull(&server, "1").await.unwrap();
            assert_eq!(pulled.image.diff_ids, image.layers.iter().map(|l| l.diff_id).collect::<Vec<_>>());
        }
        let fetched = shelf.asked(&server).iter().filter(|label| *label == "1 1").count();
        assert_eq!(fetched, 1);
        assert_eq!(world.unfinished(), [""; 0]);
        world.verify();
    }
}

#[tokio::test]
async fn the_phases_of_a_layer_come_in_order() {
    let image = Image::of(&[("file", 200_000)]);
    let server = Shelf::default().with("1", &image).serve().await;
    let world = World::new();
    let (observer, mut events) = Events::new();
    world.pull_name(&reference(&server, "1"), observer).await.unwrap();
    let mut events = events.of(&image.layers[0]);
    let total = image.layers[0].blob.len() as u64;
    let bytes: Vec<u64> = events.iter().map(|(_, bytes)| *bytes).collect();
    assert!(bytes.is_sorted(), "{bytes:?}");
    events.dedup_by_key(|(phase, _)| *phase);
    let expected =
        [(Phase::Waiting, 0), (Phase::Downloading, 0), (Phase::Unpacking, total), (Phase::Done, total)];
    assert_eq!(events, expected);
}
