//! Who gets in, and who does not.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};

use crate::workloads::Site;

const NODE: &str = "192.168.65.3";
const PKI: &str = "/var/lib/shim/kubernetes/pki";
/// Another machine, which knows the way to the box.
const WORLD: &str = "ip netns add world; ip link add out type veth peer name in netns world; \
    ip addr add 192.0.2.1/24 dev out; ip link set out up; ip -n world addr add 192.0.2.2/24 dev in; \
    ip -n world link set in up; ip -n world route add 192.168.65.0/24 via 192.0.2.1";

/// Asks by HTTPS as the host's user does; returns the status code, 0 if there is no answer.
fn asked(site: &Site, url: &str, options: &[&str]) -> Result<u16> {
    let curl = site.host.command("curl").args(["-sk", "-o", "/dev/null", "-m", "5", "-w", "%{http_code}"]);
    let output = curl.args(options).arg(url).output()?;
    output.stdout.parse().with_context(|| output.to_string())
}

fn certificate(name: &str) -> [String; 4] {
    ["--cert".into(), format!("{PKI}/{name}.crt"), "--key".into(), format!("{PKI}/{name}.key")]
}

pub(crate) fn who_is_refused(site: &Site) -> Result<()> {
    // The kubelet answers those who may, by the word of the API server.
    let pods = format!("https://{NODE}:10250/pods");
    let known = certificate("apiserver-kubelet-client");
    assert_eq!(asked(site, &pods, &known.each_ref().map(String::as_str))?, 200);
    assert_eq!(asked(site, &pods, &[])?, 401, "anonymous");
    let token = ["create", "token", "vpnkit-controller", "-n", "kube-system"];
    let token = format!("Authorization: Bearer {}", site.cluster.kubectl(&token).stdout()?);
    assert_eq!(asked(site, &pods, &["-H", &token])?, 403, "somebody who may not");
    assert_eq!(asked(site, &format!("http://{NODE}:10255/pods"), &[])?, 0, "read-only port");

    let etcd = format!("https://{NODE}:2379/version");
    let known = certificate("apiserver-etcd-client");
    assert_eq!(asked(site, &etcd, &known.each_ref().map(String::as_str))?, 200);
    assert_eq!(asked(site, &etcd, &[])?, 0, "etcd without a certificate");
    let stranger = certificate("apiserver-kubelet-client");
    assert_eq!(asked(site, &etcd, &stranger.each_ref().map(String::as_str))?, 0, "of another authority");

    // The API server, by the host's addresses and from another machine.
    site.host.sh(WORLD)?;
    for (address, expected) in [("127.0.0.1", 200), (NODE, 200), ("192.168.65.1", 0), ("192.0.2.1", 0)] {
        assert_eq!(asked(site, &format!("https://{address}:6443/version"), &[])?, expected, "{address}");
    }
    for to in
        [format!("{NODE} 6443"), format!("{NODE} 10250"), "192.0.2.1 6443".into(), "192.0.2.1 8080".into()]
    {
        let knock = format!("ip netns exec world busybox nc -w 1 {to} </dev/null");
        let refused = site.host.command("sh").args(["-c", &knock]).output()?;
        ensure!(!refused.status.success(), "another machine: {refused}");
    }
    site.host.sh("ip netns del world")?;
    // Pods reach the kubelet, which asks who they are, but not how it is, nor where commands are run in containers.
    for (port, expected) in [(10_250, true), (10_248, false), (10_010, false)] {
        let knock = format!("nc -w 1 {NODE} {port} </dev/null");
        assert_eq!(site.in_pod(&knock).is_ok(), expected, "{port}");
    }
    keys_are_private(site)
}

fn keys_are_private(site: &Site) -> Result<()> {
    let found = |places: &str| -> Result<Vec<String>> {
        let secret = "'BEGIN .*PRIVATE KEY|client-key-data: .'";
        let list = format!("grep -rlE {secret} {places} 2>/dev/null | xargs -r stat -c '%a %U %n'");
        Ok(site.host.sh(&list)?.lines().map(str::to_owned).collect())
    };
    let keys = found(
        "/var/lib/shim/kubernetes /var/lib/shim/cluster /var/lib/shim/box /etc/shim /run/shim ~/.kube",
    )?;
    for known in ["/pki/ca.key", "/pki/sa.key", "/pki/etcd/server.key", "/admin.conf", "/.kube/config"] {
        ensure!(keys.iter().any(|line| line.ends_with(known)), "{known} is not among {keys:?}");
    }
    let open: Vec<&String> = keys.iter().filter(|line| !line.starts_with("600 root ")).collect();
    ensure!(open.is_empty(), "{open:?}");
    let printed = found("/var/lib/shim/log /var/log/pods /var/lib/shim/box")?;
    ensure!(printed.is_empty(), "{printed:?}");
    Ok(())
}

/// What everybody may: ask what they may themselves.
const EVERYBODY: &str = "selfsubject";

pub(crate) fn what_accounts_may_do(site: &Site) -> Result<()> {
    let events = "events [create patch delete]";
    for (name, expected) in [
        (
            "storage-provisioner",
            [
                events,
                "persistentvolumeclaims [list watch]",
                "persistentvolumes [list watch get create delete]",
                "storageclasses.storage.k8s.io [list watch]",
            ],
        ),
        (
            "vpnkit-controller",
            [events, "pods [list watch]", "services [list watch]", "services/status [patch]"],
        ),
    ] {
        let account = format!("--as=system:serviceaccount:kube-system:{name}");
        let list = ["auth", "can-i", "--list", "--no-headers", "-n", "kube-system", &account];
        let list = site.cluster.kubectl(&list).stdout()?;
        let rule = |line: &str| {
            // Resource, URLs, names, verbs.
            let (resource, verbs) = (line.split_whitespace().next()?, line.rsplit_once('[')?.1);
            let is_own = !resource.starts_with('[') && !resource.starts_with(EVERYBODY);
            is_own.then(|| format!("{resource} [{verbs}"))
        };
        let may: BTreeSet<String> = list.lines().filter_map(rule).collect();
        assert_eq!(may, expected.map(str::to_owned).into(), "{list}");
        for words in
            [&["get", "secrets"][..], &["list", "secrets"], &["create", "pods"], &["create", "pods/exec"]]
        {
            let answer = site.cluster.kubectl(&["auth", "can-i", "-A"]).args(words).arg(&account).output()?;
            assert_eq!(answer.stdout.trim(), "no", "{answer}");
        }
    }
    Ok(())
}
