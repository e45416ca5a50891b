//! Chains of the store are committed snapshots that nobody has to make.

use super::*;

#[tokio::test]
async fn a_chain_that_is_here_is_not_unpacked() {
    let world = World::new().await;
    let chains = world.image(&["f", "g", "h"]);
    assert_eq!(world.names(&[]).await.unwrap(), Vec::<String>::new());
    let mut parent = "";
    for (number, chain) in chains.iter().enumerate() {
        let key = format!("k8s.io/{number}/extract-{number} {chain}");
        let status = world.ask(&key, parent, chain).await.unwrap_err();
        assert_eq!(status.code(), Code::AlreadyExists);
        assert!(status.message().contains(&**chain), "{}", status.message());
        assert_eq!(code(world.stat(&key).await), Code::NotFound, "nothing was made");
        let info = world.stat(chain).await.unwrap();
        assert_eq!((&info.name, &*info.parent, info.kind()), (chain, parent, api::Kind::Committed));
        assert_eq!(info.labels, labels(&[(LABEL_REF, chain)]));
        let filter = format!("labels.\"{LABEL_REF}\"=={chain},parent==\"{parent}\"");
        assert_eq!(world.batches(&[&filter]).await.unwrap(), [vec![info]]);
        parent = chain;
    }
    // Asked again, the answer is the same, and the list has each once.
    assert_eq!(code(world.ask("again", "", &chains[0]).await), Code::AlreadyExists);
    let mut sorted = chains.clone();
    sorted.sort();
    assert_eq!(world.names(&[]).await.unwrap(), sorted);
    assert_eq!(world.directories(), 0);

    let mount = world.prepare("box", &chains[2]).await.unwrap();
    assert_eq!(option(&mount, "lowerdir"), Some(&*world.lower(&chains[2])));
    let view = world.view("view", &chains[0]).await.unwrap();
    assert_eq!((&view.source, &*view.r#type), (&world.lower(&chains[0]), "bind"));
    world.is_whole();
}

#[tokio::test]
async fn a_chain_that_is_not_here_is_unpacked_by_containerd() {
    let world = World::new().await;
    let chains = world.image(&["f", "g"]);
    let unknown = Digest::of(b"unknown").to_string();
    for (key, parent, chain) in [
        ("unknown", "", &*unknown),
        ("unknown upon known", &chains[1], &unknown),
        ("no digest", "", "sha256:short"),
        ("nothing", "", ""),
        ("another parent", "", &chains[1]),
    ] {
        let mount = world.ask(key, parent, chain).await.unwrap();
        assert!(upper(&mount).is_dir(), "{key}");
        let info = world.stat(key).await.unwrap();
        assert_eq!((info.kind(), &*info.parent), (api::Kind::Active, parent), "{key}");
        assert_eq!(info.labels, labels(&[(LABEL_REF, chain)]), "{key}");
    }
    for parent in [&*unknown, "k8s.io/1/gone"] {
        assert_eq!(code(world.ask("x", parent, &chains[0]).await), Code::NotFound, "{parent}");
    }
    // Unpacked and committed, it is a parent like any other, upon the store's own layers.
    world.commit("k8s.io/9/top", "unknown upon known", labels(&[(LABEL_REF, &unknown)])).await.unwrap();
    let mount = world.prepare("box", "k8s.io/9/top").await.unwrap();
    let lower = option(&mount, "lowerdir").unwrap();
    assert!(lower.ends_with(&format!(":{}", world.lower(&chains[1]))), "{lower}");
    assert_eq!(lower.split(':').count(), 3);
    // The request for a view is never answered with a chain.
    let request = api::ViewSnapshotRequest {
        key: "v".into(),
        labels: labels(&[(LABEL_REF, &chains[0])]),
        ..Default::default()
    };
    assert_eq!(code(world.client.clone().view(request).await), Code::Ok);
    world.is_whole();
}

#[tokio::test]
async fn chains_need_no_registration() {
    let world = World::new().await;
    let chains = world.image(&["f", "g"]);
    let info = world.stat(&chains[1]).await.unwrap();
    assert_eq!((&info.parent, info.kind()), (&chains[0], api::Kind::Committed));
    assert!(info.created_at.is_some_and(|time| time.seconds > 1_500_000_000));
    let (size, inodes) = world.usage(&chains[1]).await.unwrap();
    assert!(size >= 0 && inodes == 2, "{size} bytes, {inodes} inodes");
    let mount = world.prepare("box", &chains[1]).await.unwrap();
    assert_eq!(option(&mount, "lowerdir"), Some(&*world.lower(&chains[1])));
    let names = world.names(&[]).await.unwrap();
    assert_eq!(names, ["box"], "the store must not be listed whole");

    // What was registered before a restart is as good after it, though nobody says so again.
    assert_eq!(code(world.ask("extract", "", &chains[0]).await), Code::AlreadyExists);
    let world = world.restart().await;
    assert_eq!(world.names(&[]).await.unwrap(), ["box"]);
    assert_eq!(world.mounts("box").await.unwrap(), mount);
    assert_eq!(code(world.prepare("other", &chains[0]).await), Code::Ok);
    world.remove("box").await.unwrap();
    // containerd may say more than once that it has no use for a chain.
    for _ in 0..2 {
        assert_eq!(code(world.remove(&chains[1]).await), Code::Ok);
    }
    assert_eq!(world.stat(&chains[1]).await.unwrap().parent, chains[0]);
    world.is_whole();
}

#[tokio::test]
async fn a_chain_whose_bytes_are_lost_is_not_offered() {
    let world = World::new().await;
    let chain = world.image(&["f"]).remove(0);
    std::fs::remove_dir_all(world.lower(&chain)).unwrap();
    let mount = world.ask("extract", "", &chain).await.unwrap();
    assert!(upper(&mount).is_dir(), "containerd can unpack it");
    assert_eq!(world.names(&[]).await.unwrap(), ["extract"]);
}
