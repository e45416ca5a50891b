//! What a broken pull leaves, and what the next one makes of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cachestore::error::chain;

use super::image::{Image, Layer, noise, tar_of};
use super::kit::{Shelf, World};
use crate::testing::{Answer, Server, limits};
use crate::{Error, PullError};

/// Serves a shelf; until the switch is thrown, what has this label breaks off after so many bytes.
async fn breaking(shelf: &Shelf, label: &'static str, after: usize) -> (Server, Arc<AtomicBool>) {
    let mended = Arc::new(AtomicBool::new(false));
    let is_mended = Arc::clone(&mended);
    let server = shelf
        .serve_with(move |asked, answer| {
            let breaks = asked.starts_with(label) && !is_mended.load(Ordering::SeqCst);
            if breaks { answer.cut_after(after) } else { answer }
        })
        .await;
    (server, mended)
}

/// Returns what a server was asked for after this many requests, in order.
fn later(shelf: &Shelf, server: &Server, requests: usize) -> Vec<String> {
    server.seen()[requests..].iter().map(|seen| shelf.label(seen)).collect()
}

#[tokio::test]
async fn a_broken_pull_is_gone_on_from() {
    for layer in [Layer::plain(&tar_of("file", 100_000)), Layer::gzip(&tar_of("file", 100_000))] {
        let image = Image::new(&[layer]);
        let shelf = Shelf::default().with("1", &image);
        let (server, mended) = breaking(&shelf, "1 1", 10_000).await;
        let world = World::new();
        let error = world.pull(&server, "1").await.unwrap_err();
        assert!(matches!(error, PullError::Registry(Error::Unavailable { .. })), "{error:?}");
        let digest = image.layers[0].digest();
        let expected = format!("cannot pull blob {digest} of {0}/app from http://{0}: ", server.host);
        assert!(error.to_string().starts_with(&expected), "{error}");
        // Each resumption brought as much as the first answer.
        let left = 10_000 * (1 + limits().resumes as usize);
        assert_eq!(world.unfinished(), [format!("p {left}")]);
        world.verify();

        mended.store(true, Ordering::SeqCst);
        let requests = server.seen().len();
        let pulled = world.pull(&server, "1").await.unwrap();
        assert_eq!(pulled.image.id, image.id());
        assert_eq!(later(&shelf, &server, requests), ["1", "1 config", &format!("1 1 from {left}")]);
        assert_eq!(world.unfinished(), [""; 0]);
        world.verify();
    }
}

#[tokio::test]
async fn one_pull_outlives_as_many_breaks_as_its_limits_say() {
    let image = Image::of(&[("file", 100_000)]);
    let shelf = Shelf::default().with("1", &image);
    let breaks = ["1 1", "1 1 from 30000", "1 1 from 60000"];
    let server = shelf
        .serve_with(
            move |label, answer| if breaks.contains(&label) { answer.cut_after(30_000) } else { answer },
        )
        .await;
    let world = World::new();
    world.pull(&server, "1").await.unwrap();
    assert_eq!(later(&shelf, &server, 2), [&breaks[..], &["1 1 from 90000"]].concat());
    world.verify();
}

#[tokio::test]
async fn a_server_without_ranges_sends_again_what_is_skipped() {
    let image = Image::of(&[("file", 100_000)]);
    let whole = image.layers[0].blob.clone();
    let shelf = Shelf::default().with("1", &image);
    let sent = whole.clone();
    let server = shelf
        .serve_with(
            move |label, answer| if label.starts_with("1 1") { Answer::ok(&sent[..]) } else { answer },
        )
        .await;
    let world = World::new();
    world.leave_partial(&image.layers[0], &whole[..40_000]);
    assert_eq!(world.pull(&server, "1").await.unwrap().image.id, image.id());
    assert_eq!(later(&shelf, &server, 2), ["1 1 from 40000"]);
    assert_eq!(world.unfinished(), [""; 0]);
    world.verify();
}

#[tokio::test]
async fn what_is_left_may_be_anything() {
    let tar = tar_of("file", 100_000);
    for layer in [Layer::plain(&tar), Layer::gzip(&tar)] {
        let length = layer.blob.len();
        let spoilt = |at: usize| {
            let mut blob = layer.blob.clone();
            blob[at] ^= 0xff;
            blob
        };
        let rest = |start: usize| format!("1 1 from {start}");
        for (what, left, expected) in [
            ("nothing", vec![], vec!["1 1".to_owned()]),
            ("a part", layer.blob[..50_000].to_vec(), vec![rest(50_000)]),
            ("all but a byte", layer.blob[..length - 1].to_vec(), vec![rest(length - 1)]),
            ("all", layer.blob.clone(), vec![]),
            // This breaks the archive, so that the bytes are not even asked for where nothing else needs them …
            ("a wrong beginning", spoilt(2)[..50_000].to_vec(), vec![rest(50_000), "1 1".to_owned()]),
            ("nothing but zeros", vec![0; 50_000], vec![rest(50_000), "1 1".to_owned()]),
            ("noise", noise(3, 50_000), vec![rest(50_000), "1 1".to_owned()]),
            // … and this does not, where the layer is plain: only the digest tells.
            ("a wrong middle", spoilt(30_000)[..50_000].to_vec(), vec![rest(50_000), "1 1".to_owned()]),
            ("all, with a wrong middle", spoilt(30_000), vec!["1 1".to_owned()]),
            ("all, with a wrong end", spoilt(length - 1), vec!["1 1".to_owned()]),
            ("too much", [&layer.blob[..], b"x"].concat(), vec!["1 1".to_owned()]),
        ] {
            let image = Image::new(std::slice::from_ref(&layer));
            let shelf = Shelf::default().with("1", &image);
            let server = shelf.serve().await;
            let world = World::new();
            world.leave_partial(&layer, &left);
            assert_eq!(world.pull(&server, "1").await.unwrap().image.id, image.id(), "{what}");
            assert_eq!(later(&shelf, &server, 2), expected, "{what}");
            assert_eq!(world.unfinished(), [""; 0], "{what}");
            world.verify();
        }
    }
}

#[tokio::test]
async fn a_download_that_cannot_be_kept_is_the_disks_failure() {
    let image = Image::of(&[("file", 50_000)]);
    let shelf = Shelf::default().with("1", &image);
    let server = shelf.serve().await;
    let world = World::new();
    let place = world.partial(&image.layers[0]);
    std::os::unix::fs::symlink("/dev/full", &place).unwrap();
    let error = world.pull(&server, "1").await.unwrap_err();
    let PullError::Layer { source, .. } = &error else { panic!("{error:?}") };
    let is_full = matches!(&**source, cachestore::Error::NoSpace { path } if *path == place);
    assert!(is_full, "{error:?}");
    let text = chain(&error);
    assert!(
        text.contains(&format!("no space left on the disk while writing {}; free some", place.display())),
        "{text}"
    );
    world.verify();
    assert_eq!(world.unfinished(), [""; 0]);
    assert_eq!(world.pull(&server, "1").await.unwrap().image.id, image.id());
}
