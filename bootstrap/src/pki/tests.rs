use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::Command;

use x509_parser::extensions::GeneralName;
use x509_parser::pem::parse_x509_pem;

use super::*;

const DAY: Duration = Duration::from_secs(86_400);
/// A day in 2026, with part of a second.
const NOW: Duration = Duration::new(1_795_000_000, 987_654_321);

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + NOW
}

fn names() -> Names {
    Names::new(Ipv4Addr::new(192, 168, 65, 3))
}

fn made() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    assert!(!ensure(directory.path(), &names(), now()).unwrap().renewals.is_empty());
    directory
}

/// As the service does it: everybody who reads what was changed is started again.
fn ensure(directory: &Path, names: &Names, now: SystemTime) -> Result<Change> {
    let change = super::ensure(directory, names, now)?;
    settle(directory)?;
    Ok(change)
}

/// What was made anew, by file.
fn renewed(change: &Change) -> BTreeMap<&'static str, Reason> {
    change.renewals.iter().map(|renewal| (renewal.file, renewal.reason.clone())).collect()
}

fn files_below(directory: &Path) -> BTreeMap<PathBuf, (u32, String)> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(
                files_below(&path)
                    .into_iter()
                    .map(|(name, file)| (PathBuf::from(path.file_name().unwrap()).join(name), file)),
            );
        } else {
            let mode = path.metadata().unwrap().permissions().mode() & 0o777;
            found.insert(path.file_name().unwrap().into(), (mode, files::read(&path).unwrap()));
        }
    }
    found
}

/// What each authority has signed, by file.
fn signed_by(authority: Authority) -> Vec<&'static str> {
    leaves(&names()).iter().filter(|leaf| leaf.authority == authority).map(|leaf| leaf.file).collect()
}

#[test]
fn every_file_that_kubeadm_would_make_is_made_once() {
    let directory = tempfile::tempdir().unwrap();
    let change = ensure(directory.path(), &names(), now()).unwrap();
    let found = files_below(directory.path());
    let mut expected = Vec::new();
    for pair in [
        "ca",
        "apiserver",
        "apiserver-kubelet-client",
        "front-proxy-ca",
        "front-proxy-client",
        "apiserver-etcd-client",
        "etcd/ca",
        "etcd/server",
        "etcd/peer",
        "etcd/healthcheck-client",
        "kubelet",
    ] {
        expected.extend([format!("pki/{pair}.crt"), format!("pki/{pair}.key")]);
    }
    expected.extend(["pki/sa.key", "pki/sa.pub"].map(String::from));
    for name in ["admin", "super-admin", "kubelet", "controller-manager", "scheduler"] {
        expected.push(format!("{name}.conf"));
    }
    let found_names: BTreeSet<String> = found.keys().map(|path| path.display().to_string()).collect();
    assert_eq!(found_names, expected.into_iter().collect());
    for (path, (mode, text)) in &found {
        let is_public = path.extension().is_some_and(|extension| extension == "crt" || extension == "pub");
        assert_eq!(*mode, if is_public { 0o644 } else { 0o600 }, "{}", path.display());
        assert_eq!(text.contains("PRIVATE"), path.extension().unwrap() == "key", "{}", path.display());
    }
    assert_eq!(change.renewals.len(), 17);
    assert_eq!(change.lines(), ["made 17 certificates and keys"]);
    assert_eq!(change.readers().len(), 6);
    assert_eq!(ensure(directory.path(), &names(), now() + 300 * DAY).unwrap(), Change::default());
    assert_eq!(files_below(directory.path()), found);
}

/// Common name, organization, server, client, names, addresses.
type Said = (String, Option<String>, bool, bool, Vec<String>, Vec<String>);

fn said(pem: &str) -> Said {
    let (_, pem) = parse_x509_pem(pem.as_bytes()).unwrap();
    let certificate = pem.parse_x509().unwrap();
    let first = |found: Option<&x509_parser::x509::AttributeTypeAndValue<'_>>| {
        found.map(|value| value.as_str().unwrap().to_owned())
    };
    let usages = certificate.extended_key_usage().unwrap().map(|usages| usages.value.clone());
    let (mut names, mut addresses) = (Vec::new(), Vec::new());
    for name in
        certificate.subject_alternative_name().unwrap().iter().flat_map(|san| &san.value.general_names)
    {
        match name {
            GeneralName::DNSName(name) => names.push((*name).to_owned()),
            GeneralName::IPAddress(bytes) => {
                let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
                let address = v4.unwrap_or_else(|_| <[u8; 16]>::try_from(*bytes).unwrap().into());
                addresses.push(address.to_string());
            }
            other => panic!("{other:?}"),
        }
    }
    names.sort();
    addresses.sort();
    let usage = certificate.key_usage().unwrap().unwrap().value;
    assert!(usage.digital_signature() && usage.key_encipherment());
    assert_eq!(usage.key_cert_sign(), certificate.is_ca());
    assert!(
        certificate.basic_constraints().unwrap().is_none_or(|found| found.value.ca == certificate.is_ca())
    );
    (
        first(certificate.subject().iter_common_name().next()).unwrap(),
        first(certificate.subject().iter_organization().next()),
        usages.as_ref().is_some_and(|usages| usages.server_auth),
        usages.as_ref().is_some_and(|usages| usages.client_auth),
        names,
        addresses,
    )
}

#[test]
fn certificates_say_what_kubeadm_wants_of_them() {
    let directory = made();
    let api_names = [
        "docker-desktop",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
        "kubernetes.docker.internal",
        "localhost",
    ];
    let (node, local) = ("192.168.65.3", "127.0.0.1");
    let etcd_addresses = [local, node, "::1"];
    type Row<'a> = (&'a str, &'a str, Option<&'a str>, bool, bool, &'a [&'a str], &'a [&'a str]);
    let rows: [Row<'_>; 16] = [
        ("pki/ca.crt", "kubernetes", None, false, false, &["kubernetes"], &[]),
        ("pki/front-proxy-ca.crt", "front-proxy-ca", None, false, false, &["front-proxy-ca"], &[]),
        ("pki/etcd/ca.crt", "etcd-ca", None, false, false, &["etcd-ca"], &[]),
        ("pki/apiserver.crt", "kube-apiserver", None, true, false, &api_names, &["10.96.0.1", local, node]),
        ("pki/apiserver-kubelet-client.crt", "kube-apiserver-kubelet-client", None, false, true, &[], &[]),
        ("pki/apiserver-etcd-client.crt", "kube-apiserver-etcd-client", None, false, true, &[], &[]),
        ("pki/front-proxy-client.crt", "front-proxy-client", None, false, true, &[], &[]),
        (
            "pki/etcd/server.crt",
            "docker-desktop",
            None,
            true,
            true,
            &["docker-desktop", "localhost"],
            &etcd_addresses,
        ),
        (
            "pki/etcd/peer.crt",
            "docker-desktop",
            None,
            true,
            true,
            &["docker-desktop", "localhost"],
            &etcd_addresses,
        ),
        ("pki/etcd/healthcheck-client.crt", "kube-etcd-healthcheck-client", None, false, true, &[], &[]),
        (
            "pki/kubelet.crt",
            "system:node:docker-desktop",
            Some("system:nodes"),
            true,
            false,
            &["docker-desktop"],
            &[local, node],
        ),
        ("admin.conf", "kubernetes-admin", Some("kubeadm:cluster-admins"), false, true, &[], &[]),
        ("super-admin.conf", "kubernetes-super-admin", Some("system:masters"), false, true, &[], &[]),
        ("kubelet.conf", "system:node:docker-desktop", Some("system:nodes"), false, true, &[], &[]),
        ("controller-manager.conf", "system:kube-controller-manager", None, false, true, &[], &[]),
        ("scheduler.conf", "system:kube-scheduler", None, false, true, &[], &[]),
    ];
    for (file, common_name, organization, is_server, is_client, names, addresses) in rows {
        let text = files::read(directory.path().join(file)).unwrap();
        let pem = if file.ends_with(".conf") { kubeconfig::read(&text).unwrap().certificate } else { text };
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let organization = organization.map(ToOwned::to_owned);
        let expected: Said =
            (common_name.into(), organization, is_server, is_client, owned(names), owned(addresses));
        assert_eq!(said(&pem), expected, "{file}");
    }
}

#[test]
fn clients_know_their_server() {
    let directory = made();
    for (file, server) in [
        ("admin.conf", "https://kubernetes.docker.internal:6443"),
        ("super-admin.conf", "https://kubernetes.docker.internal:6443"),
        ("kubelet.conf", "https://192.168.65.3:6443"),
        ("controller-manager.conf", "https://192.168.65.3:6443"),
        ("scheduler.conf", "https://192.168.65.3:6443"),
    ] {
        let entry = kubeconfig::read(&files::read(directory.path().join(file)).unwrap()).unwrap();
        assert_eq!(entry.server, server, "{file}");
        assert_eq!(entry.authority, files::read(directory.path().join("pki/ca.crt")).unwrap(), "{file}");
    }
}

#[test]
fn lifetimes_are_those_of_kubeadm() {
    let directory = made();
    for (file, days) in
        [("pki/ca", 3650), ("pki/etcd/ca", 3650), ("pki/apiserver", 365), ("pki/kubelet", 365)]
    {
        let text = files::read(directory.path().join(file).with_extension("crt")).unwrap();
        let (_, pem) = parse_x509_pem(text.as_bytes()).unwrap();
        let certificate = pem.parse_x509().unwrap();
        let now = i64::try_from(NOW.as_secs()).unwrap();
        assert_eq!(certificate.validity().not_before.timestamp(), now - 300, "{file}");
        assert_eq!(certificate.validity().not_after.timestamp(), now + days * 86_400, "{file}");
    }
}

fn openssl(arguments: &[&str]) -> String {
    let output = Command::new("openssl").args(arguments).output();
    let output = output.expect("this test needs the program openssl: apt-get install openssl");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "openssl {}: {said}", arguments.join(" "));
    said
}

#[test]
fn openssl_verifies_everything() {
    let directory = made();
    let path = |file: &str| directory.path().join(file).display().to_string();
    let at = NOW.as_secs().to_string();
    for leaf in leaves(&names()) {
        let authority = path(&format!("{}.crt", leaf.authority.file()));
        let certificate = match leaf.form {
            Form::Pair => path(&format!("{}.crt", leaf.file)),
            Form::Kubeconfig { .. } => {
                let text = files::read(directory.path().join(leaf.file)).unwrap();
                let copy = path("copy.crt");
                files::put(Path::new(&copy), kubeconfig::read(&text).unwrap().certificate.as_bytes(), 0o600)
                    .unwrap();
                copy
            }
        };
        let mut purposes = Vec::new();
        if leaf.profile.is_server {
            purposes.push("sslserver");
        }
        if leaf.profile.is_client {
            purposes.push("sslclient");
        }
        for purpose in purposes {
            openssl(&[
                "verify",
                "-x509_strict",
                "-attime",
                &at,
                "-purpose",
                purpose,
                "-CAfile",
                &authority,
                &certificate,
            ]);
        }
    }
    // The two halves of the keys of service accounts belong together.
    let (private, public) = (path("pki/sa.key"), path("pki/sa.pub"));
    let derived = openssl(&["pkey", "-in", &private, "-pubout"]);
    assert_eq!(derived.trim(), files::read(&public).unwrap().trim());
    assert!(files::read(&private).unwrap().starts_with("-----BEGIN PRIVATE KEY-----\n"));
}

#[test]
fn what_nears_its_end_is_renewed_in_time() {
    let all: BTreeSet<&str> = leaves(&names()).iter().map(|leaf| leaf.file).collect();
    // Days that have gone by; how many days are left of a leaf, if it is renewed for that; and of the authorities.
    let rows: [(u32, Option<i64>, Option<i64>); 6] = [
        (0, None, None),
        (334, None, None),
        (336, Some(29), None),
        (400, Some(-35), None),
        // Leaves are renewed with an authority that is not near its end itself.
        (3469, Some(3469), None),
        (3471, None, Some(179)),
    ];
    for (days, left, authority_left) in rows {
        let directory = made();
        let is_settled = is_current(directory.path(), &names(), now() + days * DAY).unwrap();
        let change = ensure(directory.path(), &names(), now() + days * DAY).unwrap();
        assert_eq!(is_settled, change == Change::default(), "{days}");
        let renewed = renewed(&change);
        match (left, authority_left) {
            (None, None) => assert_eq!(change, Change::default(), "{days}"),
            (Some(left), None) => {
                assert_eq!(renewed.keys().copied().collect::<BTreeSet<_>>(), all, "{days}");
                let left = if left > 365 { 365 - left } else { left };
                assert!(
                    renewed.values().all(|reason| *reason == Reason::Ending { days: left }),
                    "{renewed:?}"
                );
            }
            (_, Some(left)) => {
                assert_eq!(renewed.len(), all.len() + 3, "{days}");
                for authority in Authority::ALL {
                    assert_eq!(renewed[authority.file()], Reason::Ending { days: left });
                    for leaf in signed_by(authority) {
                        assert_eq!(renewed[leaf], Reason::OtherAuthority, "{leaf}");
                    }
                }
            }
        }
        // None of it reads like a key, and the result is good.
        assert!(!format!("{change:?} {:?}", change.lines()).contains("PRIVATE"));
        assert_eq!(ensure(directory.path(), &names(), now() + days * DAY).unwrap(), Change::default());
    }
}

#[test]
fn a_leaf_does_not_outlive_its_authority() {
    let directory = made();
    let late = now() + 3460 * DAY;
    ensure(directory.path(), &names(), late).unwrap();
    let text = files::read(directory.path().join("pki/apiserver.crt")).unwrap();
    let (_, pem) = parse_x509_pem(text.as_bytes()).unwrap();
    let end = pem.parse_x509().unwrap().validity().not_after.timestamp();
    assert_eq!(end, i64::try_from(NOW.as_secs()).unwrap() + 3650 * 86_400);
}

#[test]
fn another_address_renews_what_names_it() {
    let directory = made();
    let moved = Names { node_address: Ipv4Addr::new(192, 168, 66, 3), ..names() };
    let change = ensure(directory.path(), &moved, now()).unwrap();
    let (names, server) = (Reason::Outdated("list of names"), Reason::Outdated("server"));
    let expected = [
        ("controller-manager.conf", server.clone()),
        ("kubelet.conf", server.clone()),
        ("pki/apiserver", names.clone()),
        ("pki/etcd/peer", names.clone()),
        ("pki/etcd/server", names.clone()),
        ("pki/kubelet", names),
        ("scheduler.conf", server),
    ];
    assert_eq!(renewed(&change), expected.into());
    use Reader::{ApiServer, ControllerManager, Etcd, Kubelet, Scheduler};
    assert_eq!(change.readers(), [Etcd, ApiServer, ControllerManager, Scheduler, Kubelet].into());
    assert_eq!(ensure(directory.path(), &moved, now()).unwrap(), Change::default());
    // Another name of the node is another subject too.
    let renamed = Names { node: "other".into(), ..moved };
    let change = renewed(&ensure(directory.path(), &renamed, now()).unwrap());
    assert_eq!(change["pki/kubelet"], Reason::Outdated("subject"));
    assert_eq!(change["kubelet.conf"], Reason::Outdated("subject"));
    assert_eq!(change["pki/apiserver"], Reason::Outdated("list of names"));
    assert_eq!(change.len(), 5);
}

/// Every file is once missing, once empty, once cut in half, and once that of another cluster, as a process leaves it that is
/// killed between key and certificate, or a user who copies files.
#[test]
fn whatever_was_left_half_done_is_repaired() {
    let (template, foreign) = (made(), made());
    let originals = files_below(template.path());
    let others = files_below(foreign.path());
    for (path, (mode, text)) in &originals {
        let half = &text[..text.len() / 2];
        for damage in [None, Some(""), Some(half), Some("\u{fffd}\0"), Some(others[path].1.as_str())] {
            let directory = tempfile::tempdir().unwrap();
            for other in originals.keys().filter(|other| *other != path) {
                let target = directory.path().join(other);
                files::ensure_directory(target.parent().unwrap(), 0o700).unwrap();
                std::fs::copy(template.path().join(other), target).unwrap();
            }
            if let Some(damage) = damage {
                files::put(&directory.path().join(path), damage.as_bytes(), *mode).unwrap();
            }
            assert!(!is_current(directory.path(), &names(), now()).unwrap(), "{}", path.display());
            let change = ensure(directory.path(), &names(), now()).unwrap();
            let renewed = renewed(&change);
            let base = path.with_extension("").display().to_string();
            let file = if path.extension().unwrap() == "conf" { path.display().to_string() } else { base };
            let shown = format!("{} {damage:.10?}: {renewed:?}", path.display());
            assert!(renewed.contains_key(file.as_str()), "{shown}");
            let authority = Authority::ALL.into_iter().find(|authority| authority.file() == file);
            let expected = 1 + authority.map_or(0, |authority| signed_by(authority).len());
            assert_eq!(renewed.len(), expected, "{shown}");
            assert!(!change.lines().join("\n").contains("PRIVATE"), "{shown}");
            assert!(is_current(directory.path(), &names(), now()).unwrap(), "{shown}");
            assert_eq!(ensure(directory.path(), &names(), now()).unwrap(), Change::default(), "{shown}");
        }
    }
}

#[test]
fn an_authority_of_other_kubeconfigs_is_noticed() {
    let (directory, foreign) = (made(), made());
    // The certificate is ours, the authority that the client trusts is another one.
    let ours = kubeconfig::read(&files::read(directory.path().join("admin.conf")).unwrap()).unwrap();
    let authority = files::read(foreign.path().join("pki/ca.crt")).unwrap();
    let text = kubeconfig::merge(None, &Entry { authority, ..ours }).unwrap();
    files::put(&directory.path().join("admin.conf"), text.as_bytes(), 0o600).unwrap();
    let change = ensure(directory.path(), &names(), now()).unwrap();
    assert_eq!(renewed(&change), [("admin.conf", Reason::OtherAuthority)].into());
    assert_eq!(change.lines(), ["admin.conf: was signed by another authority"]);
}

#[test]
fn keys_are_made_private_again() {
    let directory = made();
    for file in ["pki/ca.key", "pki/apiserver.key", "pki/sa.key", "admin.conf"] {
        let path = directory.path().join(file);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(ensure(directory.path(), &names(), now()).unwrap(), Change::default());
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{file}");
    }
}

#[test]
fn a_wrong_clock_throws_nothing_away() {
    let directory = made();
    let before = files_below(directory.path());
    for (time, named) in [
        (SystemTime::UNIX_EPOCH, "clock: is wrong"),
        (SystemTime::UNIX_EPOCH - DAY, "clock: is wrong"),
        (SystemTime::UNIX_EPOCH + Duration::from_secs(250_000_000_000), "clock: is wrong"),
        (now() - DAY, "set the machine's clock"),
    ] {
        let error = ensure(directory.path(), &names(), time).unwrap_err().to_string();
        assert!(error.contains(named), "{error}");
        assert_eq!(files_below(directory.path()), before);
    }
    // It was put back less than certificates reach back.
    assert_eq!(
        ensure(directory.path(), &names(), now() - Duration::from_secs(200)).unwrap(),
        Change::default()
    );
}

#[test]
fn a_change_is_not_forgotten_until_it_is_settled() {
    let directory = tempfile::tempdir().unwrap();
    let ensure = |names: &Names| super::ensure(directory.path(), names, now()).unwrap();
    ensure(&names());
    // The service is killed here, at the first time and at a later one; nobody knows what was started again.
    for moved in [names(), Names { node_address: Ipv4Addr::new(192, 168, 66, 3), ..names() }] {
        ensure(&moved);
        assert!(!is_current(directory.path(), &moved, now()).unwrap());
        let change = ensure(&moved);
        assert_eq!((change.renewals.len(), change.readers()), (0, Reader::ALL.into()));
        assert!(!is_current(directory.path(), &moved, now()).unwrap());
        settle(directory.path()).unwrap();
        assert!(is_current(directory.path(), &moved, now()).unwrap());
        assert_eq!(ensure(&moved), Change::default());
    }
}

#[test]
fn each_file_has_its_readers() {
    let directory = made();
    use Reader::{Administrator, ApiServer, ControllerManager, Etcd, Kubelet, Scheduler};
    let rows: [(&str, &[Reader]); 8] = [
        ("pki/kubelet.key", &[Kubelet]),
        ("scheduler.conf", &[Scheduler]),
        ("admin.conf", &[Administrator]),
        ("pki/sa.key", &[ApiServer, ControllerManager]),
        ("pki/front-proxy-client.crt", &[ApiServer]),
        ("pki/front-proxy-ca.key", &[ApiServer, ControllerManager, Scheduler]),
        ("pki/etcd/ca.key", &[Etcd, ApiServer]),
        ("pki/ca.key", &[ApiServer, ControllerManager, Scheduler, Kubelet, Administrator]),
    ];
    for (file, readers) in rows {
        files::remove(&directory.path().join(file)).unwrap();
        let change = ensure(directory.path(), &names(), now()).unwrap();
        assert_eq!(change.readers(), readers.iter().copied().collect(), "{file}");
    }
}

#[test]
fn what_cannot_be_written_is_said() {
    let directory = tempfile::tempdir().unwrap();
    files::put(&directory.path().join("pki"), b"", 0o600).unwrap();
    let error = ensure(directory.path(), &names(), now()).unwrap_err().to_string();
    assert!(error.contains("cannot create ") && error.contains("pki/etcd"), "{error}");
}
