//! The life of a snapshot, from its preparation to its removal.

use super::*;

fn write(mount: &Mount, name: &str, bytes: usize) {
    let mut file = std::fs::File::create(upper(mount).join(name)).unwrap();
    std::io::Write::write_all(&mut file, &vec![7; bytes]).unwrap();
}

fn kind(info: &api::Info) -> (api::Kind, &str) {
    (info.kind(), &info.parent)
}

#[tokio::test]
async fn layer_upon_layer() {
    let world = World::new().await;
    let first = world.prepare("ns/1/extract a b", "").await.unwrap();
    assert_eq!((&*first.r#type, first.options.join(",")), ("bind", "rw,rbind".to_owned()));
    assert!(Path::new(&first.source).starts_with(world.dir()), "{first:?}");
    assert_eq!(world.mounts("ns/1/extract a b").await.unwrap(), first);
    assert_eq!(kind(&world.stat("ns/1/extract a b").await.unwrap()), (api::Kind::Active, ""));
    write(&first, "one", 100_000);
    world.commit("ns/2/one", "ns/1/extract a b", labels(&[("k", "v")])).await.unwrap();
    let one = world.stat("ns/2/one").await.unwrap();
    assert_eq!((kind(&one), &one.labels), ((api::Kind::Committed, ""), &labels(&[("k", "v")])));
    assert_eq!(code(world.stat("ns/1/extract a b").await), Code::NotFound);

    // Upon one layer, and upon two.
    let second = world.prepare("second", "ns/2/one").await.unwrap();
    assert_eq!((&*second.r#type, &*second.source, &*second.options[0]), ("overlay", "overlay", "index=off"));
    assert_eq!(option(&second, "lowerdir"), Some(&*first.source));
    let (upper, work) = (option(&second, "upperdir").unwrap(), option(&second, "workdir").unwrap());
    assert!(Path::new(upper).is_dir() && Path::new(work).is_dir() && upper != work, "{second:?}");
    let lower = format!("{upper}:{}", first.source);
    world.commit("two", "second", Labels::new()).await.unwrap();
    let third = world.prepare("third", "two").await.unwrap();
    assert_eq!(option(&third, "lowerdir"), Some(&*lower));
    assert_eq!(kind(&world.stat("third").await.unwrap()), (api::Kind::Active, "two"));

    // Views are read-only, whatever is below.
    let view = world.view("view 0", "").await.unwrap();
    assert_eq!((&*view.r#type, view.options.join(",")), ("bind", "ro,rbind".to_owned()));
    let view = world.view("view 1", "ns/2/one").await.unwrap();
    assert_eq!((&view.source, view.options.join(",")), (&first.source, "ro,rbind".to_owned()));
    let view = world.view("view 2", "two").await.unwrap();
    assert_eq!(view.options, ["index=off".to_owned(), format!("lowerdir={lower}")]);
    assert_eq!(world.mounts("view 2").await.unwrap(), view);
    assert_eq!(kind(&world.stat("view 2").await.unwrap()), (api::Kind::View, "two"));

    // From the top down, everything goes.
    for parent in ["ns/2/one", "two"] {
        assert_eq!(code(world.remove(parent).await), Code::FailedPrecondition, "{parent}");
    }
    for name in ["view 0", "view 1", "view 2", "third", "two", "ns/2/one"] {
        world.remove(name).await.unwrap();
        assert_eq!(code(world.stat(name).await), Code::NotFound, "{name}");
    }
    assert!(world.directories() > 0, "what is removed goes in the background");
    world.cleanup().await.unwrap();
    assert_eq!(world.directories(), 0);
    world.is_whole();
}

#[tokio::test]
async fn usage_is_that_of_the_own_directory() {
    let world = World::new().await;
    let mount = world.prepare("a", "").await.unwrap();
    let (size, inodes) = world.usage("a").await.unwrap();
    assert_eq!(inodes, 1);
    write(&mount, "file", 100_000);
    let grown = world.usage("a").await.unwrap();
    assert!(grown.0 >= size + 100_000 && grown.0 < size + 200_000 && grown.1 == 2, "{grown:?}");
    world.commit("A", "a", Labels::new()).await.unwrap();
    assert_eq!(world.usage("A").await.unwrap(), grown);
    let mount = world.prepare("b", "A").await.unwrap();
    assert_eq!(world.usage("b").await.unwrap(), (size, 1));
    std::fs::hard_link(upper(&mount), upper(&mount).join("x")).unwrap_err();
    write(&mount, "x", 50_000);
    std::fs::hard_link(upper(&mount).join("x"), upper(&mount).join("y")).unwrap();
    let linked = world.usage("b").await.unwrap();
    assert!(linked.0 < 100_000 && linked.1 == 2, "a file with two names is one: {linked:?}");
    assert_eq!(world.usage("A").await.unwrap(), grown);
}

#[tokio::test]
async fn the_root_is_like_the_one_below() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let world = World::new().await;
    let mode = |mount: &Mount| upper(mount).metadata().unwrap().mode() & 0o7777;
    let first = world.prepare("a", "").await.unwrap();
    assert_eq!(mode(&first), 0o755);
    std::fs::set_permissions(upper(&first), std::fs::Permissions::from_mode(0o1711)).unwrap();
    world.commit("A", "a", Labels::new()).await.unwrap();
    let second = world.prepare("b", "A").await.unwrap();
    assert_eq!(mode(&second), 0o1711);
    let chain = world.image(&["f"]).remove(0);
    assert_eq!(mode(&world.prepare("c", &chain).await.unwrap()), 0o755);
}

#[tokio::test]
async fn only_labels_change() {
    let world = World::new().await;
    let all = labels(&[("a", "1"), ("b.c/d", "2")]);
    world.prepare_with("box", "", all.clone()).await.unwrap();
    let before = world.stat("box").await.unwrap();
    assert_eq!(before.labels, all);
    let chain = world.image(&["f"]).remove(0);
    let by_ref = labels(&[(LABEL_REF, &chain)]);
    assert_eq!(world.stat(&chain).await.unwrap().labels, by_ref);
    type Pairs<'a> = &'a [(&'a str, &'a str)];
    let steps: [(&[&str], Pairs<'_>, Pairs<'_>); 5] = [
        (&["labels.a"], &[("a", "9"), ("x", "0")], &[("a", "9"), ("b.c/d", "2")]),
        (&["labels.b.c/d"], &[("b.c/d", "3")], &[("a", "9"), ("b.c/d", "3")]),
        (&["labels.a", "labels.n"], &[("n", "4")], &[("b.c/d", "3"), ("n", "4")]),
        (&["labels"], &[("z", "5")], &[("z", "5")]),
        (&[], &[], &[]),
    ];
    for (mask, new, expected) in steps {
        let info = world.update("box", labels(new), mask).await.unwrap();
        assert_eq!(info.labels, labels(expected), "{mask:?}");
        assert_eq!(world.stat("box").await.unwrap(), info);
        assert_eq!((&info.name, info.kind, &info.parent), (&before.name, before.kind, &before.parent));
        assert_eq!(info.created_at, before.created_at);
        let time = |info: &api::Info| info.updated_at.map(|time| (time.seconds, time.nanos));
        assert!(time(&info) > time(&before), "{info:?}");
    }
    for mask in ["name", "kind", "parent", "created_at", "labelsa", ""] {
        let answer = world.update("box", labels(&[("a", "1")]), &["labels.a", mask]).await;
        assert_eq!(code(answer), Code::InvalidArgument, "{mask}");
    }
    assert_eq!(world.stat("box").await.unwrap().labels, Labels::new());
    // A chain has labels as well.
    let info = world.update(&chain, labels(&[("k", "v")]), &["labels.k"]).await.unwrap();
    assert_eq!(info.labels.len(), 2);
    assert_eq!(world.stat(&chain).await.unwrap().labels, info.labels);
    let none = api::UpdateSnapshotRequest::default();
    assert_eq!(code(world.client.clone().update(none).await), Code::InvalidArgument);
}

#[tokio::test]
async fn a_restart_forgets_nothing() {
    let world = World::new().await;
    let chain = world.image(&["f"]).remove(0);
    let first = world.prepare("a", "").await.unwrap();
    write(&first, "file", 10);
    world.commit("A", "a", labels(&[("k", "v")])).await.unwrap();
    let mounts = [world.prepare("b", "A").await.unwrap(), world.view("c", &chain).await.unwrap()];
    let infos = world.batches(&[]).await.unwrap();
    world.prepare("gone", "A").await.unwrap();
    world.remove("gone").await.unwrap();

    let world = world.restart().await;
    assert_eq!(world.batches(&[]).await.unwrap(), infos);
    assert_eq!([world.mounts("b").await.unwrap(), world.mounts("c").await.unwrap()], mounts);
    assert_eq!(world.directories(), 3, "what was removed, and not cleaned up, is gone");
    assert!(Path::new(&first.source).join("file").is_file());
    assert_eq!(kind(&world.stat("b").await.unwrap()), (api::Kind::Active, "A"));
    world.is_whole();
}

#[tokio::test]
async fn many_at_once() {
    let world = Arc::new(World::new().await);
    let chain = world.image(&["f", "g"]).remove(1);
    let mut tasks = JoinSet::new();
    for number in 0..40 {
        let (world, chain) = (Arc::clone(&world), chain.clone());
        tasks.spawn(async move {
            // Each key is asked for four times; one of them gets it.
            let key = format!("k8s.io/{0}/{0}", number / 4);
            world.prepare(&key, &chain).await.map(|mount| upper(&mount))
        });
    }
    let answers = tasks.join_all().await;
    let made: std::collections::BTreeSet<_> = answers.iter().flatten().collect();
    assert_eq!((made.len(), answers.iter().flatten().count()), (10, 10));
    assert!(answers.iter().flat_map(|answer| answer.as_ref().err()).all(|s| s.code() == Code::AlreadyExists));
    assert_eq!(world.directories(), 10, "the losers left nothing");
    world.is_whole();
}
