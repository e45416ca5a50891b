//! Files in the place of a user's kubeconfig that cannot be added to.

use std::fs::File;
use std::path::Path;

use anyhow::{Result, ensure};
use tests::cluster::Cluster;
use tests::files;
use tests::host::Host;

/// What is in the file, and what is said of it.
const BROKEN: [(&[u8], &str); 4] = [
    (b"apiVersion: v1\nclusters: [{name: a, cluster: {\n", "line 2: unclosed bracket"),
    (b"\x7fELF\x02\x01\x01\x00\xff\xfe", "line 1: is not UTF-8"),
    (b"apiVersion: v1\nkind: Config\nclusters: 7\n", "line 3: `clusters` is not a list"),
    (b"kind: Config\nusers: []\ncontexts:\n- work\n", "line 4: what `contexts` lists is not a map of fields"),
];
/// The size of a file that is none of kubectl's, in bytes.
const LARGE: u64 = 100 << 20;

/// Types `up`: the file is named and left as it is, and there is no cluster before it can be reached.
pub(crate) fn broken_ones_are_said_first(cluster: &Cluster, host: &Host, path: &Path) -> Result<()> {
    let is_said = |named: &str| -> Result<()> {
        let output = cluster.up_command()?.fails_with(1)?;
        let expected = format!("{}: {named}", path.display());
        for word in [&*expected, "hint: mend the file or move it away; it was not changed"] {
            ensure!(output.stderr.contains(word), "{word:?} is not in {output}");
        }
        assert_eq!(cluster.instance().part("box")?["state"], "waiting", "{output}");
        Ok(())
    };
    for (content, named) in BROKEN {
        files::put(path, content)?;
        is_said(named)?;
        assert_eq!(files::get(path)?, content, "{named}");
    }
    File::create(path)?.set_len(LARGE)?;
    is_said("is too large to be a file of kubectl")?;
    assert_eq!(path.metadata()?.len(), LARGE);
    host.command("rm").arg(path).run()?;
    host.command("mkdir").arg(path).run()?;
    is_said("is not a regular file")?;
    host.command("rmdir").arg(path).run().map(drop)
}
