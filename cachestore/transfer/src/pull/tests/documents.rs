//! What manifests, indexes and configurations may be, and what is made of those that are wrong.

use cachestore::oci::platform::Target;
use serde_json::{Value, json};

use super::image::{Image, Layer, Tar, bytes, descriptor, gzip, tar_of, zstd};
use super::kit::{Shelf, World, reference};
use crate::testing::Answer;

const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

fn sample() -> Image {
    Image::of(&[("file", 3000)])
}

#[tokio::test]
async fn every_form_of_a_layer_is_pulled() {
    let tar = Tar::default().directory("etc").file("etc/passwd", b"root").end();
    let half = tar.len() / 2;
    let two_members = [gzip(&tar[..half]), gzip(&tar[half..])].concat();
    let two_frames = [zstd(&tar[..half]), zstd(&tar[half..])].concat();
    for (media_type, blob) in [
        ("application/vnd.oci.image.layer.v1.tar", tar.clone()),
        ("application/vnd.oci.image.layer.v1.tar+gzip", gzip(&tar)),
        ("application/vnd.oci.image.layer.v1.tar+gzip", two_members),
        ("application/vnd.oci.image.layer.v1.tar+zstd", zstd(&tar)),
        ("application/vnd.oci.image.layer.v1.tar+zstd", two_frames),
        ("application/vnd.oci.image.layer.nondistributable.v1.tar", tar.clone()),
        ("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", gzip(&tar)),
        ("application/vnd.oci.image.layer.nondistributable.v1.tar+zstd", zstd(&tar)),
        ("application/vnd.docker.image.rootfs.diff.tar", tar.clone()),
        ("application/vnd.docker.image.rootfs.diff.tar.gzip", gzip(&tar)),
        ("application/vnd.docker.image.rootfs.diff.tar.zstd", zstd(&tar)),
        ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", gzip(&tar)),
    ] {
        let mut image = Image::new(&[Layer::new(media_type, &tar, blob)]);
        if media_type.contains("docker") {
            image.manifest["mediaType"] = DOCKER_MANIFEST.into();
            image.manifest["config"]["mediaType"] = DOCKER_CONFIG.into();
        }
        let shelf = Shelf::default().with("1", &image);
        let server = shelf.serve().await;
        let world = World::new();
        let pulled = world.pull(&server, "1").await.unwrap();
        assert_eq!((pulled.image.id, pulled.digest), (image.id(), image.digest()), "{media_type}");
        assert_eq!(world.read(&pulled.image, "etc/passwd"), b"root", "{media_type}");
        assert_eq!(shelf.asked(&server), ["1", "1 1", "1 config"], "{media_type}");
        assert_eq!(world.unfinished(), [""; 0], "{media_type}");
        world.verify();
    }
}

#[tokio::test]
async fn an_image_without_layers_is_pulled() {
    let image = Image::of(&[]);
    let server = Shelf::default().with("1", &image).serve().await;
    let world = World::new();
    let pulled = world.pull(&server, "1").await.unwrap();
    assert_eq!((pulled.image.id, pulled.image.chain), (image.id(), None));
    world.verify();
}

#[tokio::test]
async fn a_manifest_need_not_say_what_it_is() {
    for header in ["application/json", "text/plain; charset=utf-8", DOCKER_MANIFEST] {
        let mut image = sample();
        image.manifest.as_object_mut().unwrap().remove("mediaType");
        let shelf = Shelf::default();
        shelf.put("manifests/1", "1", header, bytes(&image.manifest));
        let server = shelf.with("1", &image).serve().await;
        assert_eq!(World::new().pull(&server, "1").await.unwrap().image.id, image.id(), "{header}");
    }
}

/// Returns images that differ, one for each platform, and the index that names them all.
fn index(media_type: &str, platforms: &[&str]) -> (Vec<Image>, Value) {
    let mut images = Vec::new();
    for number in 1..=platforms.len() {
        images.push(Image::of(&[("file", number * 100)]));
    }
    let entries: Vec<_> =
        images.iter().zip(platforms).map(|(image, platform)| image.in_index(platform)).collect();
    (images, json!({ "schemaVersion": 2, "mediaType": media_type, "manifests": entries }))
}

#[tokio::test]
async fn an_index_gives_the_image_of_this_machine() {
    let none = |platform: &str, offered: &str| Err(format!(" has no image for {platform}; it has {offered}"));
    for (machine, platforms, expected) in [
        ("linux/amd64", &["linux/arm64/v8", "linux/amd64", "unknown/unknown"][..], Ok(1)),
        ("linux/amd64", &["unknown/unknown", "windows/amd64", "linux/amd64"], Ok(2)),
        ("linux/amd64", &["linux/amd64/v3", "linux/amd64/v2", "linux/amd64"], Ok(2)),
        ("linux/arm64/v8", &["linux/arm/v7", "linux/arm64"], Ok(1)),
        ("linux/arm/v7", &["linux/arm/v5", "linux/arm/v8", "linux/arm/v7", "linux/arm/v6"], Ok(2)),
        ("linux/arm/v7", &["linux/arm/v5", "linux/arm/v6", "linux/arm64/v8"], Ok(1)),
        ("linux/arm/v6", &["linux/arm/v5", "linux/arm/v7"], Ok(0)),
        ("linux/amd64", &["windows/amd64", ""], Ok(1)),
        (
            "linux/amd64",
            &["linux/arm64/v8", "unknown/unknown", "linux/arm/v7", "windows/amd64", "linux/arm/v7"],
            none("linux/amd64", "linux/arm/v7, linux/arm64, windows/amd64"),
        ),
        ("linux/arm/v6", &["linux/arm/v7"], none("linux/arm/v6", "linux/arm/v7")),
        ("linux/amd64", &["unknown/unknown"], none("linux/amd64", "none at all")),
        ("linux/amd64", &[], none("linux/amd64", "none at all")),
    ] {
        for media_type in [OCI_INDEX, DOCKER_LIST] {
            let (images, index) = index(media_type, platforms);
            let parts: Vec<_> = images.iter().collect();
            let server = Shelf::default().with_index("1", media_type, &index, &parts).serve().await;
            let mut world = World::new();
            let mut words = machine.split('/').map(str::to_owned);
            let mut word = || words.next().unwrap_or_default();
            world.puller.target = Target { os: word(), architecture: word(), variant: word() };
            match (world.pull(&server, "1").await, &expected) {
                (Ok(pulled), Ok(at)) => {
                    assert_eq!(pulled.image.id, images[*at].id(), "{machine} {platforms:?}");
                    assert_eq!(pulled.digest, cachestore::Digest::of(&bytes(&index)));
                    assert_eq!(pulled.image.manifest, images[*at].digest());
                }
                (Err(error), Err(text)) => {
                    assert_eq!(error.to_string(), reference(&server, "1") + text, "{platforms:?}");
                    assert_eq!(server.seen().len(), 1);
                }
                (found, _) => panic!("{machine} {platforms:?}: {found:?}"),
            }
        }
    }
}

#[tokio::test]
async fn indexes_that_lie_are_refused() {
    type Spoil = fn(&mut Value, &Shelf);
    let spoils: [(&str, Spoil, &str); 5] = [
        ("size", |index, _| index["manifests"][0]["size"] = 7.into(), "bytes, and its index says 7"),
        (
            "content",
            |_, shelf| shelf.replace("1.0 manifest", "{}"),
            "the manifest has digest sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a and not",
        ),
        ("absent", |_, shelf| shelf.remove("1.0 manifest"), "not found: UNKNOWN not here"),
        ("digest", |index, _| index["manifests"][0]["digest"] = "sha512:00".into(), "Invalid digest"),
        (
            "inner index",
            |index, shelf| {
                let inner = bytes(&json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [] }));
                let mut entry = descriptor(OCI_INDEX, &inner);
                entry["platform"] = json!({ "os": "linux", "architecture": "amd64" });
                shelf.put(&format!("manifests/{}", entry["digest"].as_str().unwrap()), "x", OCI_INDEX, inner);
                index["manifests"][0] = entry;
            },
            "an index within an index",
        ),
    ];
    for (what, spoil, expected) in spoils {
        let image = sample();
        let mut index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [image.in_index("linux/amd64")] });
        let shelf = Shelf::default().with_index("unused", OCI_INDEX, &Value::Null, &[]);
        shelf.clone().with_index("1", OCI_INDEX, &Value::Null, &[&image]);
        spoil(&mut index, &shelf);
        shelf.replace("1", bytes(&index));
        let server = shelf.serve().await;
        let mut world = World::new();
        world.puller.target =
            Target { os: "linux".into(), architecture: "amd64".into(), variant: String::new() };
        let error = world.fails(&server, "1").await;
        assert!(error.contains(expected) && error.contains(&server.host), "{what}: {error}");
        assert_eq!((world.store.images().len(), world.unfinished()), (0, vec![]), "{what}");
        world.verify();
    }
}

#[tokio::test]
async fn documents_that_lie_are_refused() {
    type Spoil = fn(&mut Image);
    let spoils: [(&str, Spoil, &str); 9] = [
        ("schema 1", |image| image.manifest["schemaVersion"] = 1.into(), "schema version 1"),
        (
            "artifact",
            |image| image.manifest["config"]["mediaType"] = "application/vnd.cncf.helm.config.v1+json".into(),
            "it is an artifact (application/vnd.cncf.helm.config.v1+json), not a container image",
        ),
        (
            "layer type",
            |image| image.manifest["layers"][0]["mediaType"] = "application/wasm".into(),
            "its media type application/wasm is not a tar archive",
        ),
        ("both", |image| image.manifest["manifests"] = json!([]), "it has both manifests and layers"),
        ("layer digest", |image| image.manifest["layers"][0]["digest"] = "md5:00".into(), "digest"),
        (
            "configuration without layers",
            |image| image.config["rootfs"]["diff_ids"] = json!([]),
            "its manifest has 1 layers, its configuration 0",
        ),
        (
            "configuration with more layers",
            |image| {
                let diff_id = image.layers[0].diff_id;
                image.config["rootfs"]["diff_ids"] = json!([diff_id, diff_id]);
            },
            "its manifest has 1 layers, its configuration 2",
        ),
        ("configuration of nothing", |image| image.config = json!([]), "invalid image configuration"),
        (
            "huge configuration",
            |image| image.manifest["config"]["size"] = 99_999_999_u64.into(),
            "it has 99999999 bytes, and 4194304 are the limit",
        ),
    ];
    for (what, spoil, expected) in spoils {
        let mut image = sample();
        spoil(&mut image);
        if what.starts_with("configuration") {
            image.manifest["config"] =
                descriptor(cachestore::oci::manifest::OCI_CONFIG, &bytes(&image.config));
        }
        let server = Shelf::default().with("1", &image).serve().await;
        let world = World::new();
        let error = world.fails(&server, "1").await;
        assert!(error.contains(expected) && error.contains(&server.host), "{what}: {error}");
        assert_eq!((world.store.images().len(), world.unfinished()), (0, vec![]), "{what}");
        world.verify();
    }
}

#[tokio::test]
async fn a_configuration_is_held_to_digest_and_size() {
    for (bytes, chunked, problem) in [
        (&b"{}"[..], false, "it has 2 bytes, and the manifest says"),
        (b"{}", true, "416 Range Not Satisfiable"),
        (&[b' '; 500], false, "it has 500 bytes, and the manifest says"),
        (&[b' '; 500], true, "it is longer than the"),
    ] {
        let image = sample();
        let shelf = Shelf::default().with("1", &image);
        shelf.replace("1 config", bytes);
        let server = shelf.serve_with(move |_, answer| if chunked { answer.chunked() } else { answer }).await;
        let error = World::new().fails(&server, "1").await;
        let subject = format!("cannot pull blob {} of {}/app from http://", image.id(), server.host);
        assert!(error.starts_with(&subject) && error.contains(problem), "{error}");
    }
    let image = sample();
    let length = bytes(&image.config).len();
    let shelf = Shelf::default().with("1", &image);
    shelf.replace("1 config", vec![b' '; length]);
    let error = World::new().fails(&shelf.serve().await, "1").await;
    assert!(
        error.contains(&format!("the bytes have digest {}", cachestore::Digest::of(&vec![b' '; length])))
    );
}

#[tokio::test]
async fn what_a_registry_says_of_a_tag_is_held_against_it() {
    let image = sample();
    let lie = cachestore::Digest::of(b"something else");
    let shelf = Shelf::default().with("1", &image);
    let server = shelf
        .serve_with(move |label, answer| match label {
            "1" => answer.header("Docker-Content-Digest", &lie.to_string()),
            _ => answer,
        })
        .await;
    let error = World::new().fails(&server, "1").await;
    assert!(error.ends_with(&format!("the manifest has digest {} and not {lie}", image.digest())), "{error}");
}

#[tokio::test]
async fn what_is_not_there_is_named() {
    let server = Shelf::default().serve().await;
    let world = World::new();
    let error = world.pull(&server, "1").await.unwrap_err();
    assert!(matches!(&error, crate::PullError::Registry(error) if error.is_not_found()), "{error:?}");
    let expected = format!("cannot pull {0}/app:1 from http://{0}: not found: UNKNOWN not here", server.host);
    assert_eq!(error.to_string(), expected);

    let image = sample();
    let shelf = Shelf::default().with("1", &image);
    shelf.remove("1 1");
    let server = shelf.serve_with(|_, answer: Answer| answer).await;
    let error = world.fails(&server, "1").await;
    let digest = image.layers[0].digest();
    let expected = format!(
        "cannot pull blob {digest} of {0}/app from http://{0}: not found: UNKNOWN not here",
        server.host
    );
    assert_eq!(error, expected);
    assert_eq!(world.unfinished(), [""; 0]);
    world.verify();
}

#[tokio::test]
async fn a_digest_names_an_image_and_moves_no_tag() {
    let (old, new) = (Image::of(&[("old", 100)]), Image::of(&[("new", 100)]));
    let server = Shelf::default().with("old", &old).with("1", &new).serve().await;
    let world = World::new();
    let names = |pulled: &crate::Pulled| {
        let names: Vec<_> = pulled.image.names.iter().map(|name| name.reference.to_string()).collect();
        let digests: Vec<_> = pulled.image.repo_digests.iter().map(ToString::to_string).collect();
        (names, digests)
    };
    let pinned = |image: &Image| format!("{}/app@{}", server.host, image.digest());
    let pulled = world.pull(&server, "1").await.unwrap();
    assert_eq!(names(&pulled), (vec![format!("{}/app:1", server.host)], vec![pinned(&new)]));
    for name in [pinned(&old), format!("{}/app:1@{}", server.host, old.digest())] {
        let pulled = world.pull_name(&name, std::sync::Arc::new(|_| {})).await.unwrap();
        assert_eq!(pulled.image.id, old.id());
        assert_eq!(names(&pulled), (vec![], vec![pinned(&old)]), "{name}");
        assert_eq!(world.store.expect_image(&name).unwrap().id, old.id());
    }
    let tagged = world.store.expect_image(&format!("{}/app:1", server.host)).unwrap();
    assert_eq!(tagged.id, new.id(), "the tag stays where it was");
    world.verify();
}

#[tokio::test]
async fn what_is_here_is_up_to_date() {
    let image = sample();
    let tar = tar_of("file", 3000);
    let same = Image::new(&[Layer::gzip(&tar)]);
    let shelf = Shelf::default().with("1", &image).with("2", &image).with("3", &same);
    let server = shelf.serve().await;
    let world = World::new();
    let pull = async |tag: &str| world.pull(&server, tag).await.unwrap();
    assert!(!pull("1").await.up_to_date);
    assert!(pull("1").await.up_to_date);
    assert!(!pull("2").await.up_to_date, "the name is new");
    let again = pull("3").await;
    assert_eq!((again.image.id, again.digest), (image.id(), same.digest()), "packed in another way");
    assert_eq!(shelf.asked(&server), ["1", "1", "1 1", "1 config", "2", "3"]);
    let names: Vec<_> = again.image.names.iter().map(|name| name.reference.tag().unwrap()).collect();
    assert_eq!((names, again.image.repo_digests.len()), (vec!["1", "2", "3"], 2));
    world.verify();
}
