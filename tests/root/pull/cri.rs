//! Pulls as a kubelet asks for them, through a whole instance.

use anyhow::{Result, ensure};
use tests::containerd::Engine;
use tests::host::Host;
use tests::images::base_set;
use tests::instance::Instance;
use tests::registry::{PASSWORD, Registry, USER};

use super::access::{PRIVATE, private_registry};

#[test]
fn with_and_without_credentials() -> Result<()> {
    let host = Host::new()?;
    let mut registry = Registry::stocked(&host, &[base_set()?])?;
    let (_private, id) = private_registry(&host)?;
    let instance = Instance::up(&host, &Engine::debian()?)?;
    let crictl = instance.crictl()?;

    let pulled = crictl.run(&["pull", "busybox"])?;
    let status = crictl.json(&["inspecti", "busybox"])?;
    let busybox = status["status"]["id"].as_str().unwrap_or_default().to_owned();
    ensure!(pulled.ends_with(&busybox) && busybox.starts_with("sha256:"), "{pulled}");
    assert_eq!(status["status"]["repoTags"].to_string(), r#"["docker.io/library/busybox:latest"]"#);
    assert_eq!(instance.shimctl(&["inspect", "-f", "{{.Id}}", "busybox"])?.stdout()?, busybox);

    let failed = crictl.command(&["pull", PRIVATE]).fails_with(1)?;
    ensure!(failed.stderr.contains("no credentials for 127.0.0.1:5001 were given"), "{failed}");
    let wrong = format!("{USER}:guess");
    let failed = crictl.command(&["pull", "--creds", &wrong, PRIVATE]).fails_with(1)?;
    ensure!(failed.stderr.contains("the credentials for 127.0.0.1:5001 were not accepted"), "{failed}");
    ensure!(!failed.stderr.contains("guess"), "a secret is shown: {failed}");
    let pulled = crictl.run(&["pull", "--creds", &format!("{USER}:{PASSWORD}"), PRIVATE])?;
    ensure!(pulled.ends_with(&id), "{pulled}");
    let status = crictl.json(&["inspecti", PRIVATE])?;
    assert_eq!(status["status"]["id"], id.as_str());

    let failed = crictl.command(&["pull", "busybox:nope"]).fails_with(1)?;
    ensure!(
        failed.stderr.contains("docker.io/library/busybox:nope from http://127.0.0.1:5000: not found"),
        "{failed}"
    );
    registry.kill()?;
    let failed = crictl.command(&["pull", "busybox:1"]).fails_with(1)?;
    ensure!(
        failed.stderr.contains("docker.io/library/busybox:1 from http://127.0.0.1:5000: connection refused"),
        "{failed}"
    );
    // What is here still is.
    let images = crictl.json(&["images"])?;
    assert_eq!(
        images["images"]
            .as_array()
            .map(|images| images.iter().filter(|image| image["id"] == busybox.as_str()).count()),
        Some(1)
    );
    instance.down()
}
