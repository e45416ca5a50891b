//! What is said when a pull cannot succeed: host, reference and cause.

use anyhow::{Result, ensure};
use tests::images::base_set;

use super::World;

#[test]
fn errors_name_host_reference_and_cause() -> Result<()> {
    let mut world = World::new()?;
    world.registry.serve(&base_set()?)?;
    let digest = cachestore::Digest::of(b"nothing");
    let by_digest = format!("busybox@{digest}");
    for (name, code, words) in [
        ("busybox:nope", 1, &["docker.io/library/busybox:nope", "from http://127.0.0.1:5000: not found"][..]),
        ("quay.io/no/such", 1, &["quay.io/no/such:latest", "from http://127.0.0.1:5000: not found"]),
        (&by_digest, 1, &["docker.io/library/busybox@sha256:", "from http://127.0.0.1:5000: not found"]),
        (
            "127.0.0.1:4999/app:1",
            1,
            &["127.0.0.1:4999/app:1", "from http://127.0.0.1:4999: connection refused"],
        ),
        (
            "registry.invalid/app:1",
            1,
            &["registry.invalid/app:1", "from https://registry.invalid: ", "lookup"],
        ),
        (
            "registry.invalid:8443/app",
            1,
            &["registry.invalid:8443/app:latest", "from https://registry.invalid:8443: "],
        ),
        ("UPPER", 1, &["UPPER", "lower"]),
        ("a b", 1, &["a b"]),
    ] {
        let failed = world.shimd.shimctl(&["pull", name])?.fails_with(code)?;
        let error = failed.stderr.trim();
        ensure!(error.starts_with("Error: ") && error.lines().count() == 1, "{failed}");
        ensure!(words.iter().all(|words| error.contains(words)), "{words:?}: {failed}");
    }
    assert_eq!(world.shimd.shimctl(&["images", "-q", "busybox"])?.stdout()?, "");
    world.registry.kill()?;
    let failed = world.shimd.shimctl(&["pull", "-q", "busybox"])?.fails_with(1)?;
    let expected =
        "Error: cannot pull docker.io/library/busybox:latest from http://127.0.0.1:5000: connection refused";
    assert_eq!((failed.stdout.as_str(), failed.stderr.trim()), ("", expected));
    world.verify()?;

    world.shimd.stop()?;
    let failed = world.shimd.shimctl(&["pull", "busybox"])?.fails_with(3)?;
    ensure!(failed.stderr.starts_with("Error: shimd does not run; start it with: "), "{failed}");
    Ok(())
}
