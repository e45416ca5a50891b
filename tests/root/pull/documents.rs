//! Images in every form that registries have, under every kind of name.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use tests::files;
use tests::image::{Blobs, Compression, Dialect, Entry, Image, Layer, Recipe, index};
use tests::images::Set;

use super::World;

/// Makes an image of three layers, one of each form, that says of which kind it is.
fn image(blobs: &Blobs, kind: &str, dialect: Dialect, platform: (&str, &str, &str)) -> Result<Image> {
    let mut recipe = Recipe::default().dialect(dialect).platform(platform.0, platform.1, platform.2);
    for (compression, path) in
        [(Compression::None, "plain"), (Compression::Gzip, "gzip"), (Compression::Zstd, "zstd")]
    {
        recipe = recipe.layer(&Layer::write(
            blobs,
            compression,
            [Entry::file(path, format!("{path} of {kind}"))],
        )?);
    }
    recipe.write(blobs)
}

/// The four documents, each under its tag, and what the manifest for this machine is.
fn set(dir: &Path) -> Result<(Set, Vec<(&'static str, Image)>)> {
    let mut made = Vec::new();
    let set = Set::make(dir, |maker| {
        let blobs = maker.blobs().clone();
        for (tag, dialect) in [("oci", Dialect::Oci), ("docker", Dialect::Docker)] {
            let ours = image(&blobs, tag, dialect, ("linux", "amd64", ""))?;
            maker.add("docker.io/test/forms", &[tag], &ours);
            made.push((tag, ours));
        }
        for (tag, dialect) in [("oci-index", Dialect::Oci), ("docker-list", Dialect::Docker)] {
            let ours = image(&blobs, tag, dialect, ("linux", "amd64", ""))?;
            let others = [
                ("linux", "arm64", "v8"),
                ("linux", "arm", "v7"),
                ("windows", "amd64", ""),
                ("unknown", "unknown", ""),
            ];
            let mut all: Vec<Image> = others
                .into_iter()
                .map(|other| image(&blobs, "other", dialect, other))
                .collect::<Result<_>>()?;
            maker.add("docker.io/test/forms", &[&format!("{tag}-of-others")], &index(&blobs, dialect, &all)?);
            all.insert(2, ours.clone());
            maker.add("docker.io/test/forms", &[tag], &index(&blobs, dialect, &all)?);
            made.push((tag, ours));
        }
        Ok(())
    })?;
    Ok((set, made))
}

#[test]
fn every_form_is_pulled() -> Result<()> {
    let mut world = World::new()?;
    let (set, made) = set(&world.host.dir().join("set"))?;
    world.registry.serve(&set)?;
    for (tag, image) in &made {
        let name = format!("test/forms:{tag}");
        let pulled = world.pull(&name)?;
        let named = set.images().iter().find(|named| named.tags == [*tag]).context("no such image")?;
        let end = format!(
            "Digest: {}\nStatus: Downloaded newer image for {name}\ndocker.io/{name}\n",
            named.digest
        );
        ensure!(pulled.stdout.ends_with(&end), "{pulled}");
        let inspected = world.inspect(&name)?;
        assert_eq!(inspected["Id"], image.id.context("no ID")?.to_string());
        assert_eq!(inspected["RepoDigests"][0], format!("test/forms@{}", named.digest));
        let layers = inspected["Shim"]["Layers"].as_array().context("no layers")?;
        for (layer, path) in layers.iter().zip(["plain", "gzip", "zstd"]) {
            let directory = Path::new(layer["Directory"].as_str().context("no directory")?);
            assert_eq!(files::text(directory.join(path))?, format!("{path} of {tag}"));
        }
        // Its digest is another name of it, and nothing has to be fetched for that.
        let before = world.registry.requests()?.len();
        world.pull(&format!("test/forms@{}", named.digest))?;
        let later = world.registry.requests()?.split_off(before);
        ensure!(later.iter().all(|request| request.blob().is_none()), "{later:?}");
    }
    for (tag, platforms) in [
        ("oci-index-of-others", "linux/arm/v7, linux/arm64, windows/amd64"),
        ("docker-list-of-others", "linux/arm/v7, linux/arm64, windows/amd64"),
    ] {
        let failed = world.shimd.shimctl(&["pull", &format!("test/forms:{tag}")])?.fails_with(1)?;
        let expected =
            format!("Error: docker.io/test/forms:{tag} has no image for linux/amd64; it has {platforms}");
        assert_eq!(failed.stderr.trim(), expected);
    }
    world.verify()?;
    world.shimd.stop()
}

#[test]
fn names_long_and_short_mean_the_same() -> Result<()> {
    let world = World::new()?;
    world.registry.serve(&tests::images::base_set()?)?;
    for name in [
        "busybox",
        "busybox:latest",
        "library/busybox",
        "docker.io/busybox",
        "index.docker.io/library/busybox:latest",
    ] {
        let pulled = world.shimd.shimctl(&["pull", "-q", name])?.stdout()?;
        assert_eq!(pulled, "docker.io/library/busybox:latest", "{name}");
    }
    assert_eq!(world.inspect("busybox")?["RepoTags"].to_string(), r#"["busybox:latest"]"#);
    // The registry by its own name is another name of the same image.
    let by_host = world.shimd.shimctl(&["pull", "-q", "127.0.0.1:5000/library/busybox"])?.stdout()?;
    assert_eq!(by_host, "127.0.0.1:5000/library/busybox:latest");
    assert_eq!(world.image_id(&by_host)?, world.image_id("busybox")?);
    // A digest says which image; the tag beside it does not move.
    let inspected = world.inspect("busybox")?;
    let digest = inspected["Shim"]["Manifest"].as_str().context("no manifest")?.to_owned();
    world.shimd.shimctl(&["rmi", "-f", "busybox", &by_host])?.run()?;
    assert_eq!(world.shimd.shimctl(&["images", "-q", "*busybox*"])?.stdout()?, "");
    world.pull(&format!("busybox:1@{digest}"))?;
    world.shimd.shimctl(&["inspect", "busybox:1"])?.fails_with(1)?;
    assert_eq!(world.inspect(&format!("busybox@{digest}"))?["Id"], inspected["Id"]);
    Ok(())
}
