//! `bootstrap probe`: tries what the kernel can do, in a network namespace that ends with the process.

use std::io::Write;

use anyhow::Context;
use rustix::thread::{UnshareFlags, unshare_unsafe};

use crate::command::{self, Place};
use crate::error::Result;

const VETH: &str = "pairs of virtual links (veth)";
const BRIDGE: &str = "bridges";
const NFTABLES: &str = "nftables with NAT and connection tracking";
const IPTABLES: &str = "iptables with NAT";

/// Everything that the tables of machine and box use.
const RULES: &str = "table inet probe {
  chain nat_out { type nat hook postrouting priority srcnat; oifname != \"x\" masquerade; }
  chain nat_in { type nat hook prerouting priority dstnat; iifname \"x\" udp dport 53 redirect to :5353; }
  chain filter { type filter hook forward priority filter; oifname \"x\" ct state established,related accept comment \"x\"; }
}
";

/// Tries and prints one line for each thing: its name, and behind a tab what is wrong.
pub(crate) fn run() -> anyhow::Result<()> {
    // SAFETY: the process has one thread here; the runtime below is started afterwards. File descriptors are not unshared.
    #[expect(unsafe_code, reason = "rustix cannot know that there is only one thread; see SAFETY")]
    unsafe {
        unshare_unsafe(UnshareFlags::NEWNET).context("cannot make a network namespace")?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let results = runtime.block_on(tries());
    let mut stdout = std::io::stdout();
    for (what, result) in results {
        let problem = result.err().map(|error| error.to_string().replace(['\n', '\t'], " "));
        writeln!(stdout, "{what}\t{}", problem.unwrap_or_default())?;
    }
    Ok(())
}

async fn tries() -> [(&'static str, Result<()>); 4] {
    [
        (VETH, command::ip(Place::Machine, "link add probe0 type veth peer name probe1\n").await),
        (BRIDGE, command::ip(Place::Machine, "link add probe2 type bridge\n").await),
        (NFTABLES, command::nft(Place::Machine, RULES).await),
        (IPTABLES, command::iptables_nat().await),
    ]
}

/// Reads the report.
pub(crate) fn read(report: &str) -> Vec<(&str, Option<&str>)> {
    report
        .lines()
        .filter_map(|text| text.split_once('\t'))
        .map(|(what, problem)| (what, (!problem.is_empty()).then_some(problem)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports() {
        let report = "bridges\t\nveth\t`ip` failed: no\nnonsense\n";
        assert_eq!(read(report), [("bridges", None), ("veth", Some("`ip` failed: no"))]);
    }
}
