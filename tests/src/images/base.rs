//! The base images: Debian's static busybox under the names of its applets, and the pause image.

use anyhow::Result;
use serde_json::json;

use super::{Set, busybox, compiled, environment};
use crate::command::{Command, find};
use crate::image::{Compression, Dialect, Entry, Layer, Recipe};

const DIRECTORIES: [&str; 16] = [
    "bin",
    "dev",
    "etc",
    "home",
    "home/user",
    "proc",
    "root",
    "run",
    "sbin",
    "sys",
    "usr",
    "usr/bin",
    "usr/local",
    "usr/sbin",
    "var",
    "var/www",
];

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh
www-data:x:33:33:www-data:/var/www:/bin/false
user:x:1000:1000:user:/home/user:/bin/sh
nobody:x:65534:65534:nobody:/:/bin/false
";

/// `group-of-the-image` is what critest's images with a group of their own are about.
const GROUP: &str = "root:x:0:
www-data:x:33:
users:x:100:
user:x:1000:
group-of-the-image:x:50000:user
nobody:x:65534:
";

/// Debian's busybox lacks these two of the real image; critest calls `pgrep NAME` and `ipcs -m`.
const PGREP: &str = "#!/bin/sh
for comm in /proc/[0-9]*/comm; do
    read -r name <$comm && [ \"$name\" = \"$1\" ] && pid=${comm#/proc/} && echo ${pid%/comm} && found=1
done 2>/dev/null
[ -n \"$found\" ]
";
const IPCS: &str = "#!/bin/sh
exec cat /proc/sysvipc/shm
";

/// Returns the entries of the base layer.
///
/// # Errors
/// busybox is not installed.
pub fn base_entries() -> Result<Vec<Entry>> {
    let mut entries: Vec<Entry> = DIRECTORIES.iter().map(|path| Entry::dir(*path)).collect();
    entries.push(Entry::dir("tmp").mode(0o1777));
    entries.push(Entry::dir("var/run"));
    entries.push(Entry::file("etc/passwd", PASSWD));
    entries.push(Entry::file("etc/group", GROUP));
    entries.push(Entry::program("bin/busybox", busybox()?));
    let applets = Command::new(find("busybox")?).arg("--list").stdout()?;
    let links = applets.lines().filter(|applet| *applet != "busybox");
    // Hard links, as in the real image: critest covers `/bin/ls`, and must not cover the shell with it.
    entries.extend(links.map(|applet| Entry::hardlink(format!("bin/{applet}"), "bin/busybox").mode(0o755)));
    entries.push(Entry::program("bin/pgrep", PGREP));
    entries.push(Entry::program("bin/ipcs", IPCS));
    Ok(entries)
}

/// The page of `docker/getting-started`.
const PAGE: &str = "Getting Started\n";

/// Versions of the pause image that containerd 1.6 to 2.3 and critest name.
const PAUSE_TAGS: [&str; 6] = ["3.6", "3.8", "3.9", "3.10", "3.10.1", "3.10.2"];

/// Returns `docker.io/docker/getting-started`, tag `latest`: a web server on port 80 with one page.
///
/// # Errors
/// As [`base_set`].
pub fn getting_started_set() -> Result<Set> {
    Set::cached("getting-started", &[&busybox()?, PAGE.as_bytes()], |maker| {
        let gzip = |entries| Layer::write(maker.blobs(), Compression::Gzip, entries);
        let page = vec![Entry::dir("srv"), Entry::file("srv/index.html", PAGE)];
        let (base, page) = (gzip(base_entries()?)?, gzip(page)?);
        let config = environment(&["httpd", "-f", "-p", "80", "-h", "/srv"]);
        let image = Recipe::default().layer(&base).layer(&page).config(config).write(maker.blobs())?;
        maker.add("docker.io/docker/getting-started", &["latest"], &image);
        Ok(())
    })
}

/// Returns `docker.io/library/busybox`, tags `latest`, `1` and `docker` (the same with Docker's media types),
/// `docker.io/library/busybox-zstd`, and `registry.k8s.io/pause`, which every containerd needs for pods.
///
/// # Errors
/// busybox or gcc is not installed, or the cache cannot be written.
pub fn base_set() -> Result<Set> {
    let pause = compiled("pause")?;
    Set::cached("base", &[&busybox()?, &pause], |maker| {
        let gzip = |entries| Layer::write(maker.blobs(), Compression::Gzip, entries);
        let (layer, pause) = (gzip(base_entries()?)?, gzip(vec![Entry::program("pause", pause.as_slice())])?);
        let zstd = Layer::write(maker.blobs(), Compression::Zstd, base_entries()?)?;
        let recipe = |layer| Recipe::default().layer(layer).config(environment(&["sh"]));
        let image = recipe(&layer).write(maker.blobs())?;
        maker.add("docker.io/library/busybox", &["latest", "1"], &image);
        let image = recipe(&layer).dialect(Dialect::Docker).write(maker.blobs())?;
        maker.add("docker.io/library/busybox", &["docker"], &image);
        let image = recipe(&zstd).write(maker.blobs())?;
        maker.add("docker.io/library/busybox-zstd", &["latest"], &image);
        let config = json!({"Entrypoint": ["/pause"], "User": "65535:65535"});
        let image = Recipe::default().layer(&pause).config(config).write(maker.blobs())?;
        maker.add("registry.k8s.io/pause", &PAUSE_TAGS, &image);
        Ok(())
    })
}
