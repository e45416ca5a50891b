//! Pulls that run at the same time, and those that are given up.

use std::collections::BTreeSet;

use cachestore::Digest;
use tokio::task::JoinSet;

use super::image::{Image, Layer, tar_of};
use super::kit::{Events, Shelf, World, eventually, pull, reference};
use crate::pull::PARALLEL_LAYERS;
use crate::testing::{Gate, Server};
use crate::{Phase, PullError, Pulled};

/// Serves a shelf; what has one of these labels is held up after so many bytes until the gate is opened.
async fn holding(shelf: &Shelf, labels: &'static [&'static str], after: usize) -> (Server, Gate) {
    let gate = Gate::closed();
    let held = gate.clone();
    let server = shelf
        .serve_with(
            move |label, answer| {
                if labels.contains(&label) { answer.hold_after(after, &held) } else { answer }
            },
        )
        .await;
    (server, gate)
}

/// Pulls in the background.
struct Pulls(JoinSet<Result<Pulled, PullError>>);

impl Pulls {
    fn new() -> Self {
        Self(JoinSet::new())
    }

    fn start(&mut self, world: &World, server: &Server, tag: &str) -> Events {
        let (observer, events) = Events::new();
        self.0.spawn(pull(world.puller.clone(), reference(server, tag), observer));
        events
    }

    async fn succeed(self) -> BTreeSet<Digest> {
        self.0.join_all().await.into_iter().map(|pulled| pulled.unwrap().image.id).collect()
    }

    async fn give_up(mut self) {
        self.0.shutdown().await;
    }
}

/// Waits until a server has been asked for all of this, in whatever order.
async fn asked(shelf: &Shelf, server: &Server, expected: &[&str]) {
    let mut expected = expected.to_vec();
    expected.sort_unstable();
    eventually(
        || (shelf.asked(server) == expected).then_some(()),
        || format!("{:?}, expected {expected:?}", shelf.asked(server)),
    )
    .await;
}

#[tokio::test]
async fn layers_are_downloaded_side_by_side() {
    let image = Image::of(&[("a", 50_000), ("b", 50_000), ("c", 50_000)]);
    let shelf = Shelf::default().with("1", &image);
    let (server, gate) = holding(&shelf, &["1 1", "1 2", "1 3"], 20_000).await;
    let world = World::new();
    let mut pulls = Pulls::new();
    drop(pulls.start(&world, &server, "1"));
    asked(&shelf, &server, &["1", "1 config", "1 1", "1 2", "1 3"]).await;
    gate.open();
    assert_eq!(pulls.succeed().await, BTreeSet::from([image.id()]));
    world.verify();
}

#[tokio::test]
async fn no_more_layers_than_useful_are_under_way_at_once() {
    let names: Vec<String> = (0..PARALLEL_LAYERS + 3).map(|number| format!("file-{number}")).collect();
    let files: Vec<_> = names.iter().map(|name| (name.as_str(), 5000)).collect();
    let image = Image::of(&files);
    let shelf = Shelf::default().with("1", &image);
    let gate = Gate::closed();
    let held = gate.clone();
    let server = shelf
        .serve_with(move |label, answer| {
            let is_layer = label.starts_with("1 ") && !label.ends_with("config");
            if is_layer { answer.hold_after(100, &held) } else { answer }
        })
        .await;
    let world = World::new();
    let mut pulls = Pulls::new();
    drop(pulls.start(&world, &server, "1"));
    let requests = || server.seen().len();
    eventually(|| (requests() == 2 + PARALLEL_LAYERS).then_some(()), || requests().to_string()).await;
    gate.open();
    assert_eq!(pulls.succeed().await, BTreeSet::from([image.id()]));
    assert_eq!(requests(), 2 + names.len());
    world.verify();
}

#[tokio::test]
async fn pulls_of_one_image_share_the_work() {
    // With a layer that is recorded at once, and with one that waits for those below it.
    for files in [[("first", 50_000), ("second", 5000)], [("first", 50_000), ("implied/second", 5000)]] {
        let image = Image::of(&files);
        let shelf = Shelf::default().with("1", &image);
        let (server, gate) = holding(&shelf, &["1 1"], 20_000).await;
        let world = World::new();
        let mut pulls = Pulls::new();
        let mut first = pulls.start(&world, &server, "1");
        first.received(&image.layers[0], 20_000).await;
        let mut others: Vec<_> = (0..3).map(|_| pulls.start(&world, &server, "1")).collect();
        for events in &mut others {
            events.phase(&[&image.layers[0]], Phase::Waiting).await;
        }
        let documents = ["1", "1 config"].repeat(4);
        asked(&shelf, &server, &[&documents[..], &["1 1", "1 2"]].concat()).await;
        gate.open();
        assert_eq!(pulls.succeed().await, BTreeSet::from([image.id()]));
        assert_eq!(shelf.asked(&server).len(), documents.len() + 2, "{files:?}");
        for events in &mut others {
            let total = image.layers[0].blob.len() as u64;
            assert_eq!(events.of(&image.layers[0]), [(Phase::Exists, total)]);
        }
        assert_eq!(world.unfinished(), [""; 0]);
        world.verify();
    }
}

#[tokio::test]
async fn images_with_a_layer_in_common_share_it() {
    let base = Layer::plain(&tar_of("base", 50_000));
    let images = ["a", "b"].map(|name| Image::new(&[base.clone(), Layer::plain(&tar_of(name, 100))]));
    let shelf = Shelf::default().with("a", &images[0]).with("b", &images[1]);
    let (server, gate) = holding(&shelf, &["a 1"], 20_000).await;
    let world = World::new();
    let mut pulls = Pulls::new();
    let mut first = pulls.start(&world, &server, "a");
    first.received(&base, 20_000).await;
    pulls.start(&world, &server, "b").phase(&[&base], Phase::Waiting).await;
    asked(&shelf, &server, &["a", "a config", "a 1", "a 2", "b", "b config", "b 2"]).await;
    gate.open();
    assert_eq!(pulls.succeed().await, images.iter().map(Image::id).collect());
    assert_eq!(shelf.asked(&server).len(), 7);
    world.verify();
}

#[tokio::test]
async fn who_waited_goes_on_where_another_gave_up() {
    let image = Image::of(&[("file", 100_000)]);
    let shelf = Shelf::default().with("1", &image);
    let (server, _gate) = holding(&shelf, &["1 1"], 30_000).await;
    let world = World::new();
    let (mut first, mut second) = (Pulls::new(), Pulls::new());
    first.start(&world, &server, "1").received(&image.layers[0], 30_000).await;
    let mut events = second.start(&world, &server, "1");
    events.phase(&[&image.layers[0]], Phase::Waiting).await;
    asked(&shelf, &server, &["1", "1", "1 config", "1 config", "1 1"]).await;
    first.give_up().await;
    assert_eq!(second.succeed().await, BTreeSet::from([image.id()]));
    asked(&shelf, &server, &["1", "1", "1 config", "1 config", "1 1", "1 1 from 30000"]).await;
    let downloading = events.of(&image.layers[0]).into_iter().find(|(phase, _)| *phase == Phase::Downloading);
    assert_eq!(downloading, Some((Phase::Downloading, 30_000)));
    assert_eq!(world.unfinished(), [""; 0]);
    world.verify();
}

#[tokio::test]
async fn a_waiter_that_gives_up_does_not_disturb_who_works() {
    let image = Image::of(&[("file", 100_000)]);
    let shelf = Shelf::default().with("1", &image);
    let (server, gate) = holding(&shelf, &["1 1"], 30_000).await;
    let world = World::new();
    let (mut first, mut second) = (Pulls::new(), Pulls::new());
    first.start(&world, &server, "1").received(&image.layers[0], 30_000).await;
    second.start(&world, &server, "1").phase(&[&image.layers[0]], Phase::Waiting).await;
    asked(&shelf, &server, &["1", "1", "1 config", "1 config", "1 1"]).await;
    second.give_up().await;
    gate.open();
    assert_eq!(first.succeed().await, BTreeSet::from([image.id()]));
    assert_eq!(shelf.asked(&server).len(), 5);
    world.verify();
}

#[tokio::test]
async fn when_all_give_up_only_what_was_received_is_left() {
    let image = Image::of(&[("a", 100_000), ("b", 100_000)]);
    let shelf = Shelf::default().with("1", &image);
    let (server, _gate) = holding(&shelf, &["1 1", "1 2"], 30_000).await;
    let world = World::new();
    let mut pulls = Pulls::new();
    let mut first = pulls.start(&world, &server, "1");
    first.received(&image.layers[0], 30_000).await;
    pulls.start(&world, &server, "1").phase(&[&image.layers[0]], Phase::Waiting).await;
    asked(&shelf, &server, &["1", "1", "1 config", "1 config", "1 1", "1 2"]).await;
    world.settled(&["p 30000".into(), "p 30000".into(), "t".into(), "t".into()]).await;
    pulls.give_up().await;
    world.settled(&["p 30000".into(), "p 30000".into()]).await;
    assert!(world.store.images().is_empty());
    world.verify();

    let mended = shelf.serve().await;
    world.pull(&mended, "1").await.unwrap();
    assert_eq!(shelf.asked(&mended), ["1", "1 1 from 30000", "1 2 from 30000", "1 config"]);
    assert_eq!(world.unfinished(), [""; 0]);
    world.verify();
}

#[tokio::test]
async fn layers_that_were_complete_are_not_fetched_again() {
    // The second one depends on those below, so that it cannot be recorded before the first is there.
    let image = Image::of(&[("first", 100_000), ("implied/second", 50_000), ("third", 40_000)]);
    let shelf = Shelf::default().with("1", &image);
    let (server, _gate) = holding(&shelf, &["1 1"], 30_000).await;
    let world = World::new();
    let mut pulls = Pulls::new();
    let mut events = pulls.start(&world, &server, "1");
    events.phase(&[&image.layers[1], &image.layers[2]], Phase::Done).await;
    let left = ["p 30000".into(), format!("p {}", image.layers[1].blob.len())];
    world.settled(&[&left[..], &["t".into(), "t".into()]].concat()).await;
    pulls.give_up().await;
    world.settled(&left).await;
    world.verify();

    let mended = shelf.serve().await;
    assert_eq!(world.pull(&mended, "1").await.unwrap().image.id, image.id());
    assert_eq!(shelf.asked(&mended), ["1", "1 1 from 30000", "1 config"]);
    assert_eq!(world.unfinished(), [""; 0]);
    world.verify();
}

#[tokio::test]
async fn the_failure_of_one_layer_ends_the_others() {
    let image = Image::of(&[("a", 100_000), ("b", 100)]);
    let shelf = Shelf::default().with("1", &image);
    shelf.remove("1 2");
    let (server, _gate) = holding(&shelf, &["1 1"], 30_000).await;
    let world = World::new();
    let error = world.fails(&server, "1").await;
    assert!(error.contains(&image.layers[1].digest().to_string()), "{error}");
    world.idle().await;
    world.verify();
}
