//! Stand-ins for every image that critest's validation suite asks for, under the real names.
//!
//! One cannot be made: `test-image-digest@sha256:9700f9a2…` is named by the digest of a manifest whose bytes nobody
//! outside has; that spec fails on every runtime here. So does "MaskedPaths": the shell of Debian's static busybox runs `ls`
//! without looking for `/bin/ls`. The list is of cri-tools 1.36: `pkg/validate/consts.go`,
//! `security_context_linux.go`, `multi_container_linux.go` and `pkg/framework/util.go`.

use anyhow::Result;
use serde_json::{Value, json};

use super::{Maker, Set, busybox, compiled, environment, mark};
use crate::image::{Compression, Dialect, Entry, Layer, Recipe};
use crate::images::base_entries;

const KUBERNETES: &str = "registry.k8s.io";
const STAGING: &str = "gcr.io/k8s-staging-cri-tools";

/// The port that the host network's web server has in its real image.
const HOST_PORT: &str = "12003";

/// Returns the images of critest, except the pause image, which is in [`base_set`](super::base_set).
///
/// # Errors
/// busybox or gcc is not installed, or the cache cannot be written.
pub fn critest_set() -> Result<Set> {
    let (web, uid) = (compiled("web")?, compiled("effective-uid")?);
    Set::cached("critest", &[include_bytes!("conformance.rs"), &busybox()?, &web, &uid], |maker| {
        let mut images = Images { base: layer(maker, base_entries()?)?, maker };
        images.plain()?;
        images.web(&web)?;
        images.users()?;
        images.named()?;
        let program =
            layer(images.maker, vec![Entry::program("effective-uid", uid.as_slice()).mode(0o4755)])?;
        let config = json!({"Entrypoint": ["/effective-uid"]});
        images.add(&format!("{KUBERNETES}/e2e-test-images/nonewprivs"), &["1.3"], Some(&program), config)
    })
}

struct Images<'a> {
    maker: &'a mut Maker,
    base: Layer,
}

impl Images<'_> {
    /// Adds an image of the base and perhaps one more layer; with Docker's media types, as most of the real ones.
    fn add(&mut self, repository: &str, tags: &[&str], upper: Option<&Layer>, config: Value) -> Result<()> {
        let mut recipe = Recipe::default().dialect(Dialect::Docker).layer(&self.base).config(config);
        if let Some(upper) = upper {
            recipe = recipe.layer(upper);
        }
        let image = recipe.write(self.maker.blobs())?;
        self.maker.add(repository, tags, &image);
        Ok(())
    }

    fn plain(&mut self) -> Result<()> {
        let repository = format!("{KUBERNETES}/e2e-test-images/busybox");
        self.add(&repository, &["1.29-2", "1.29-4", "1.36.1-1"], None, environment(&["sh"]))
    }

    fn web(&mut self, program: &[u8]) -> Result<()> {
        let servers = [
            ("nginx", format!("{KUBERNETES}/e2e-test-images/nginx"), &["1.14-2", "1.14-4"][..], "80"),
            ("httpd", format!("{KUBERNETES}/e2e-test-images/httpd"), &["2.4.39-4"], "80"),
            ("nginx", format!("{STAGING}/hostnet-nginx-amd64"), &["latest"], HOST_PORT),
        ];
        for (name, repository, tags, port) in servers {
            // The suite looks for the process by this name, for its process ID in this file, and for these words in
            // its command line.
            let path = format!("usr/sbin/{name}");
            let layer = layer(self.maker, vec![Entry::program(&path, program)])?;
            let mut config =
                environment(&[&format!("/{path}"), name, port, "/var/run/nginx.pid", "master process"]);
            config["ExposedPorts"] = json!({format!("{port}/tcp"): {}});
            self.add(&repository, tags, Some(&layer), config)?;
        }
        Ok(())
    }

    fn users(&mut self) -> Result<()> {
        let users = [
            ("test-image-user-uid", "1002"),
            ("test-image-user-username", "www-data"),
            ("test-image-user-uid-group", "1003:users"),
            ("test-image-user-username-group", "www-data:100"),
            // User 1000 is in group 50000 by the image's /etc/group.
            ("test-image-predefined-group", "1000"),
        ];
        for (name, user) in users {
            let layer = layer(self.maker, mark(name))?;
            let mut config = environment(&["sh"]);
            config["User"] = user.into();
            self.add(&format!("{STAGING}/{name}"), &["latest"], Some(&layer), config)?;
        }
        Ok(())
    }

    fn named(&mut self) -> Result<()> {
        let images: [(&str, &[&str]); 7] = [
            ("test-image-latest", &["latest"]),
            ("test-image-tag", &["test"]),
            ("test-image-tag", &["all"]),
            ("test-image-1", &["latest"]),
            ("test-image-2", &["latest"]),
            ("test-image-3", &["latest"]),
            ("test-image-tags", &["1", "2", "3"]),
        ];
        for (name, tags) in images {
            // An image of its own for each line, or removing one would remove another.
            let layer = layer(self.maker, mark(&format!("{name}-{}", tags[0])))?;
            self.add(&format!("{STAGING}/{name}"), tags, Some(&layer), environment(&["sh"]))?;
        }
        Ok(())
    }
}

fn layer(maker: &Maker, entries: Vec<Entry>) -> Result<Layer> {
    Layer::write(maker.blobs(), Compression::Gzip, entries)
}
