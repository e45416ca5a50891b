//! What is refused, with the codes that containerd acts upon.

use super::*;

/// A world with a snapshot of each kind: `A` committed, `a` active upon it, `v` a view upon it.
async fn populated() -> World {
    let world = World::new().await;
    world.prepare("first", "").await.unwrap();
    world.commit("A", "first", Labels::new()).await.unwrap();
    world.prepare("a", "A").await.unwrap();
    world.view("v", "A").await.unwrap();
    world
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let world = populated().await;
    let unknown = Digest::of(b"unknown").to_string();
    for key in ["absent", "", &unknown, "sha256:zz", "a/../a", "A\0"] {
        let answers = [
            code(world.mounts(key).await),
            code(world.stat(key).await),
            code(world.remove(key).await),
            code(world.usage(key).await),
            code(world.commit("B", key, Labels::new()).await),
            code(world.update(key, Labels::new(), &[]).await),
        ];
        assert_eq!(answers, [Code::NotFound; 6], "{key:?}");
        if !key.is_empty() {
            let answers = [code(world.prepare("b", key).await), code(world.view("b", key).await)];
            assert_eq!(answers, [Code::NotFound; 2], "{key:?}");
        }
    }
    assert_eq!(world.names(&[]).await.unwrap(), ["A", "a", "v"]);
    world.is_whole();
}

#[tokio::test]
async fn what_is_there_is_not_made_again() {
    let world = populated().await;
    for key in ["A", "a", "v"] {
        let answers = [
            code(world.prepare(key, "").await),
            code(world.prepare(key, "A").await),
            code(world.view(key, "A").await),
            code(world.commit(key, "a", Labels::new()).await),
        ];
        assert_eq!(answers, [Code::AlreadyExists; 4], "{key}");
    }
    assert_eq!(world.names(&[]).await.unwrap(), ["A", "a", "v"]);
    assert_eq!(world.directories(), 3);
    world.is_whole();
}

#[tokio::test]
async fn the_name_of_a_chain_is_taken() {
    let world = populated().await;
    let chain = world.image(&["f"]).remove(0);
    assert_eq!(code(world.commit(&chain, "a", Labels::new()).await), Code::AlreadyExists);
    assert_eq!(code(world.view(&chain, "A").await), Code::AlreadyExists);
    assert_eq!(code(world.prepare(&chain, "").await), Code::AlreadyExists);
    assert_eq!(world.directories(), 3);
    world.is_whole();
}

#[tokio::test]
async fn what_is_of_the_wrong_kind_is_refused() {
    let world = populated().await;
    for parent in ["a", "v"] {
        let answers = [code(world.prepare("b", parent).await), code(world.view("b", parent).await)];
        assert_eq!(answers, [Code::InvalidArgument; 2], "{parent}");
    }
    for key in ["A", "v"] {
        assert_eq!(code(world.commit("B", key, Labels::new()).await), Code::FailedPrecondition, "{key}");
    }
    assert_eq!(code(world.mounts("A").await), Code::FailedPrecondition);
    let status = world.remove("A").await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(status.message().contains("snapshot A is in use by snapshot a"), "{}", status.message());
    assert_eq!(world.directories(), 3);
    world.is_whole();
}

#[tokio::test]
async fn names_have_limits() {
    let world = World::new().await;
    world.prepare("a", "").await.unwrap();
    let longest = "x".repeat(8 << 10);
    for (name, expected) in [
        ("", Code::InvalidArgument),
        ("a\0b", Code::InvalidArgument),
        (&*format!("{longest}x"), Code::InvalidArgument),
        (&*longest, Code::Ok),
        ("../../../etc/passwd", Code::Ok),
        ("/", Code::Ok),
        ("'; DROP TABLE snapshots; --", Code::Ok),
        ("k8s.io/1/\u{202e} \n\t\"\\", Code::Ok),
    ] {
        let shown: String = name.chars().take(30).collect();
        let expected = if expected == Code::Ok { [Code::Ok; 3] } else { [expected; 3] };
        let prepared = code(world.prepare(name, "").await);
        if prepared == Code::Ok {
            let source = world.mounts(name).await.unwrap().source;
            assert!(Path::new(&source).starts_with(world.dir().join("s")), "{source}");
            world.remove(name).await.unwrap();
        }
        let viewed = code(world.view(name, "").await);
        if viewed == Code::Ok {
            world.remove(name).await.unwrap();
        }
        world.prepare("tmp", "").await.unwrap();
        let committed = code(world.commit(name, "tmp", Labels::new()).await);
        assert_eq!([prepared, viewed, committed], expected, "{shown:?}");
        world.remove(if committed == Code::Ok { name } else { "tmp" }).await.unwrap();
    }
    assert_eq!(world.names(&[]).await.unwrap(), ["a"]);
    world.cleanup().await.unwrap();
    assert_eq!(world.directories(), 1);
    world.is_whole();
}

#[tokio::test]
async fn labels_have_limits() {
    let world = World::new().await;
    let uid = "containerd.io/snapshot/uidmapping";
    let (fits, large) = ("x".repeat(4095), "x".repeat(4096));
    world.prepare("box", "").await.unwrap();
    for (key, value, expected) in [
        ("k", &*fits, Code::Ok),
        ("k", &*large, Code::InvalidArgument),
        (&*large, "v", Code::InvalidArgument),
        ("", "", Code::Ok),
        ("nul\0", "\0\u{1}\"\\", Code::Ok),
        (uid, "0:1000000:65536,65536:7:1", Code::Ok),
        (uid, "0:1:1,upperdir=/etc", Code::InvalidArgument),
        (uid, "0:1:1\0", Code::InvalidArgument),
    ] {
        let new = || labels(&[(key, value)]);
        let shown = (&key[..key.len().min(40)], &value[..value.len().min(40)]);
        // Another user's directory takes root to make; what is refused is refused to anybody.
        if key != uid || expected != Code::Ok {
            assert_eq!(code(world.prepare_with("a", "", new()).await), expected, "{shown:?}");
            let committed = if expected == Code::Ok { "a" } else { "box" };
            assert_eq!(code(world.commit("A", committed, new()).await), expected, "{shown:?}");
        }
        assert_eq!(code(world.update("box", new(), &[]).await), expected, "{shown:?}");
        if expected == Code::Ok {
            assert_eq!(world.stat("box").await.unwrap().labels, new());
        }
        if world.stat("A").await.is_ok() {
            assert_eq!(world.stat("A").await.unwrap().labels, new());
            world.remove("A").await.unwrap();
        }
    }
    assert_eq!(world.names(&[]).await.unwrap(), ["box"]);
}

#[tokio::test]
async fn a_huge_message_is_refused_and_the_next_one_is_not() {
    let world = World::new().await;
    let many: Labels = (0..5000).map(|number| (format!("{number}"), "x".repeat(1000))).collect();
    assert_eq!(code(world.prepare_with("a", "", many).await), Code::OutOfRange);
    assert_eq!(code(world.prepare("a", "").await), Code::Ok);
}
