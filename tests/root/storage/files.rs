//! Files of images, without a container.

use anyhow::{Context as _, Result};
use tests::host::Host;
use tests::image::{Compression, Entry, Layer, Recipe};
use tests::images::{Set, base_entries, busybox};
use tests::registry::Registry;
use tests::shimd::Shimd;
use tonic::Code;

use crate::control::Control;

#[test]
fn a_file_is_read_as_a_container_would_see_it() -> Result<()> {
    let host = Host::new()?;
    let set = Set::make(host.dir().join("images"), |maker| {
        let whole = |entries| Layer::write(maker.blobs(), Compression::Gzip, entries);
        let below = [
            Entry::dir("opt"),
            Entry::file("opt/old", "old"),
            Entry::dir("srv"),
            Entry::file("srv/gone", "gone"),
            Entry::file("srv/kept", "kept"),
            Entry::file("empty", ""),
        ];
        let above = [
            Entry::dir("opt"),
            Entry::file("opt/.wh..wh..opq", ""),
            Entry::file("opt/tool", "#!").mode(0o4755),
            Entry::dir("srv"),
            Entry::file("srv/.wh.gone", ""),
            Entry::symlink("link", "/../etc/shadow"),
        ];
        let recipe = Recipe::default().layer(&whole(base_entries()?)?);
        let recipe = recipe.layer(&whole(below.into())?).layer(&whole(above.into())?);
        let image = recipe.write(maker.blobs())?;
        maker.add("docker.io/test/files", &["latest"], &image);
        Ok(())
    })?;
    let _registry = Registry::stocked(&host, &[set])?;
    let mut shimd = Shimd::start(&host)?;
    shimd.shimctl(&["pull", "-q", "test/files"])?.run()?;
    let mut control = Control::connect(&shimd.root().join("run/control.sock"))?;
    for path in ["/bin/busybox", "bin/sh", "/bin/../bin/./sh"] {
        let file = control.read_file("test/files", path).with_context(|| path.to_owned())?;
        assert_eq!((file.content == busybox()?, file.mode), (true, 0o755), "{path}");
    }
    for (path, content, mode) in [
        ("opt/tool", "#!", 0o4755),
        ("srv/kept", "kept", 0o644),
        ("empty", "", 0o644),
        ("/../../empty", "", 0o644),
    ] {
        let file = control.read_file("docker.io/test/files:latest", path)?;
        assert_eq!((String::from_utf8(file.content)?.as_str(), file.mode), (content, mode), "{path}");
    }
    for (name, path, code) in [
        ("test/files", "opt/old", Code::NotFound),
        ("test/files", "srv/gone", Code::NotFound),
        // The machine has it.
        ("test/files", "link", Code::NotFound),
        ("test/files", "bin", Code::InvalidArgument),
        ("test/files", "", Code::InvalidArgument),
        ("test/nothing", "bin/sh", Code::NotFound),
        ("A", "bin/sh", Code::InvalidArgument),
    ] {
        let status = control.read_file(name, path).unwrap_err();
        assert_eq!(status.code(), code, "{name} {path}: {status}");
    }
    shimd.stop()
}
