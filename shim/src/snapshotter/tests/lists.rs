//! Lists: containerd's collection removes what it sees there and does not know, so they must be right.

use super::*;

#[tokio::test]
async fn filters_select() {
    let world = World::new().await;
    let chains = world.image(&["f", "g"]);
    let [base, top] = &chains[..] else { panic!("two layers") };
    for (parent, chain) in [("", base), (base, top)] {
        assert_eq!(code(world.ask("k8s.io/1/extract", parent, chain).await), Code::AlreadyExists);
    }
    world.prepare_with("k8s.io/2/a,b==c", top, labels(&[("role", "box"), ("q\"", "x y")])).await.unwrap();
    world.view("k8s.io/3/v", top).await.unwrap();
    let (a, v) = ("k8s.io/2/a,b==c", "k8s.io/3/v");
    let by_ref = |chain: &str, parent: &str| format!("labels.\"{LABEL_REF}\"=={chain},parent==\"{parent}\"");
    for (filters, expected) in [
        (&[][..], vec![a, v, base, top]),
        (&["kind==active"], vec![a]),
        (&["kind==view"], vec![v]),
        (&["kind==\"committed\""], vec![base, top]),
        (&["kind==committed", "kind==active"], vec![a, base, top]),
        (&["name==\"k8s.io/2/a,b==c\""], vec![a]),
        (&[&*format!("name=={base}")], vec![base]),
        (&[&*format!("parent=={top}")], vec![a, v]),
        (&[&*format!("parent=={top},kind==view")], vec![v]),
        (&["parent==\"\""], vec![base]),
        (&["labels.role==box"], vec![a]),
        (&["labels.\"role\"==box,labels.\"q\\\"\"==\"x y\""], vec![a]),
        (&["labels.role==\"\""], vec![]),
        (&["labels.absent==x"], vec![]),
        (&["name==absent"], vec![]),
        // What containerd asks after it was told that a chain is here.
        (&[&*by_ref(base, "")], vec![base]),
        (&[&*by_ref(top, base)], vec![top]),
        (&[&*by_ref(top, "")], vec![]),
        (&[&*by_ref(base, top)], vec![]),
    ] {
        let mut expected: Vec<_> = expected.into_iter().map(str::to_owned).collect();
        expected.sort();
        assert_eq!(world.names(filters).await.unwrap(), expected, "{filters:?}");
    }
    for filter in ["name", "name~=x", "id==x", "kind==active,", "==", "labels.==", "name==\"open", "\0"] {
        let answer = world.names(&["kind==active", filter]).await;
        assert_eq!(code(answer), Code::InvalidArgument, "{filter:?}");
    }
}

#[tokio::test]
async fn long_lists_come_in_parts() {
    let world = World::new().await;
    let names: Vec<_> = (0..205).map(|number| format!("k8s.io/{number:03}/x")).collect();
    for name in &names {
        world.view(name, "").await.unwrap();
    }
    let batches = world.batches(&[]).await.unwrap();
    assert_eq!(batches.iter().map(Vec::len).collect::<Vec<_>>(), [100, 100, 5]);
    assert_eq!(world.names(&[]).await.unwrap(), names);
    assert_eq!(world.batches(&["kind==active"]).await.unwrap(), Vec::<Vec<api::Info>>::new());
}

/// As containerd's collection does it: what is listed and not known is removed, then the rest is cleaned up.
#[tokio::test]
async fn a_collection_by_containerd_takes_no_layers() {
    let world = World::new().await;
    let chains = world.image(&["f", "g"]);
    for (parent, chain) in [("", &chains[0]), (&*chains[0], &chains[1])] {
        assert_eq!(code(world.ask("extract", parent, chain).await), Code::AlreadyExists);
    }
    world.prepare("box", &chains[1]).await.unwrap();
    assert_eq!(code(world.remove(&chains[1]).await), Code::FailedPrecondition);
    for name in ["box", &chains[1], &chains[0]] {
        world.remove(name).await.unwrap();
    }
    world.cleanup().await.unwrap();
    assert_eq!(world.names(&[]).await.unwrap(), Vec::<String>::new());
    assert_eq!(world.directories(), 0);
    world.is_whole();
    // The image is as good as before.
    let mount = world.prepare("box", &chains[1]).await.unwrap();
    assert_eq!(option(&mount, "lowerdir"), Some(&*world.lower(&chains[1])));
    assert!(Path::new(world.lower(&chains[0]).as_str()).join("f").is_file());
}
