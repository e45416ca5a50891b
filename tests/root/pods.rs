//! Pods of the product.

mod kills;
mod policies;
mod restarts;
mod streams;
mod volumes;

use anyhow::Result;
use tests::containerd::Engine;
use tests::crictl::Crictl;
use tests::host::Host;
use tests::images::{base_set, critest_set};
use tests::instance::Instance;
use tests::registry::Registry;

/// The web server of critest's images, here by its stand-in.
const NGINX: &str = "registry.k8s.io/e2e-test-images/nginx:1.14-2";

/// A host with a registry, an instance, and crictl for it.
struct World {
    host: Host,
    registry: Registry,
    instance: Instance,
    crictl: Crictl,
}

impl World {
    fn new(engine: &Engine) -> Result<Self> {
        let host = Host::new()?;
        let registry = Registry::stocked(&host, &[base_set()?, critest_set()?])?;
        let instance = Instance::up(&host, engine)?;
        let crictl = instance.crictl()?;
        Ok(Self { host, registry, instance, crictl })
    }
}
