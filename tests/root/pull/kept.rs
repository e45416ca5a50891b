//! Blobs that are kept because the configuration says so: an image goes out as it came in.

use anyhow::{Result, ensure};
use tests::files;
use tests::images::base_set;

use super::World;

#[test]
fn what_was_pulled_is_saved_as_the_registry_has_it() -> Result<()> {
    let mut world = World::new()?;
    world.registry.serve(&base_set()?)?;
    let archive = world.host.dir().join("busybox.tar");
    let archive = archive.to_string_lossy();
    let mut digests = Vec::new();
    for keep in [false, true] {
        files::put(world.host.etc("shim/shimd.toml"), format!("[images]\nkeep_blobs = {keep}\n"))?;
        world.shimd.kill_and_restart()?;
        world.pull("busybox")?;
        world.shimd.shimctl(&["save", "-o", &archive, "busybox"])?.run()?;
        let inspect = ["inspect", "--format", "{{.Digest}}", &format!("oci-archive:{archive}")];
        digests.push(world.host.command("skopeo").args(inspect).stdout()?);
        world.verify()?;
        let served = world.inspect("busybox")?["RepoDigests"][0].to_string();
        let same = served.contains(&digests[digests.len() - 1]);
        ensure!(same == keep, "the registry has {served}, what was saved has {digests:?}");
        world.shimd.shimctl(&["rmi", "busybox"])?.run()?;
        world.shimd.shimctl(&["prune", "--all", "--force"])?.run()?;
    }
    world.shimd.stop()
}
