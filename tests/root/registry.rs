//! The registry serves what the catalogue makes, to clients that are not ours.

use anyhow::{Result, ensure};
use tests::host::Host;
use tests::image::{Compression, Dialect, Entry, Layer, Recipe, index};
use tests::images::{LAYER_COUNTS, Set, base_set, critest_set, layers_set};
use tests::registry::{Options, PASSWORD, Registry, USER};

#[test]
fn skopeo_sees_images_under_their_real_names() -> Result<()> {
    let host = Host::new()?;
    let registry = Registry::start(&host)?;
    registry.mirror_for_skopeo()?;
    for set in [base_set()?, critest_set()?, layers_set()?] {
        registry.serve(&set)?;
        for image in set.images() {
            for tag in &image.tags {
                let name = format!("docker://{}:{tag}", image.repository);
                let seen = host.command("skopeo").args(["inspect", "--raw", &name]).run()?;
                let digest = cachestore::Digest::of(seen.stdout.as_bytes()).to_string();
                assert_eq!(digest, image.digest, "{name}");
            }
        }
    }
    for count in LAYER_COUNTS {
        let name = format!("docker://docker.io/test/layers:{count}");
        let seen = host.command("skopeo").args(["inspect", "--no-tags", &name]).json()?;
        assert_eq!(seen["Layers"].as_array().map(Vec::len), Some(count), "{name}");
    }
    let served = registry.requests()?;
    ensure!(served.iter().any(|request| request.path == "/v2/pause/manifests/3.9" && request.status == 200));
    Ok(())
}

#[test]
fn umoci_unpacks_what_skopeo_copies() -> Result<()> {
    let host = Host::new()?;
    let registry = Registry::start(&host)?;
    registry.mirror_for_skopeo()?;
    registry.serve(&base_set()?)?;
    let set = Set::make(host.dir().join("set"), |maker| {
        let blobs = maker.blobs().clone();
        let lower =
            [Entry::dir("d"), Entry::file("d/gone", "1"), Entry::file("kept", "2").owner(7, 8).mode(0o640)];
        let upper =
            [Entry::whiteout("d/gone"), Entry::file("d/new", "3"), Entry::hardlink("d/link", "d/new")];
        let lower = Layer::write(&blobs, Compression::None, lower)?;
        let upper = Layer::write(&blobs, Compression::Gzip, upper)?;
        let image = Recipe::default().layer(&lower).layer(&upper).write(&blobs)?;
        let other = Recipe::default().layer(&lower).platform("linux", "arm64", "v8").write(&blobs)?;
        maker.add("example.com/many", &["1"], &index(&blobs, Dialect::Oci, &[other, image])?);
        Ok(())
    })?;
    registry.serve(&set)?;
    let layout = host.dir().join("layout");
    let from = format!("docker://{}/many:1", registry.address());
    host.command("skopeo").args(["copy", &from]).arg(format!("oci:{}:many", layout.display())).run()?;
    let bundle = host.dir().join("bundle");
    host.command("umoci")
        .args(["raw", "unpack", "--image"])
        .arg(format!("{}:many", layout.display()))
        .arg(&bundle)
        .run()?;
    let found =
        host.command_in(&bundle, "find").args([".", "-type", "f", "-printf", "%P %U:%G %m %n\n"]).stdout()?;
    let mut found: Vec<&str> = found.lines().collect();
    found.sort_unstable();
    assert_eq!(found, ["d/link 0:0 644 2", "d/new 0:0 644 2", "kept 7:8 640 1"]);
    Ok(())
}

#[test]
fn a_registry_with_a_password_wants_it() -> Result<()> {
    let host = Host::new()?;
    let registry = Registry::with(&host, &Options { port: 5001, password: true })?;
    registry.mirror_for_skopeo()?;
    registry.serve(&base_set()?)?;
    let inspect = |credentials: &str| {
        let name = format!("docker://{}/library/busybox:latest", registry.address());
        host.command("skopeo").args(["inspect", "--raw", "--creds", credentials, &name])
    };
    inspect(&format!("{USER}:{PASSWORD}")).run()?;
    inspect(&format!("{USER}:wrong")).fails_with(1)?;
    Ok(())
}

#[test]
fn a_registry_can_be_away_for_a_while() -> Result<()> {
    let host = Host::new()?;
    let mut registry = Registry::start(&host)?;
    registry.serve(&base_set()?)?;
    let url = format!("http://{}/v2/library/busybox/tags/list", registry.address());
    let ask = || host.command("curl").args(["-sf", &url]);
    registry.kill()?;
    ask().fails_with(7)?;
    registry.restart()?;
    assert_eq!(ask().json()?["name"], "library/busybox");
    Ok(())
}
