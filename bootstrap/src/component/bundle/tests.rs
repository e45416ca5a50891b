//! Archives that are not what they should be.

use std::sync::atomic::AtomicU64;

use ring::digest;

use super::read::Bundle;
use super::*;
use crate::component::manifest::hex;
use crate::files;

fn sha256(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn content(name: &str) -> Vec<u8> {
    format!("content of {name}").repeat(100).into_bytes()
}

fn manifest() -> Manifest {
    let described = |name: &String| {
        let bytes = content(name);
        (name.clone(), Program { size_bytes: bytes.len() as u64, sha256: sha256(&bytes) })
    };
    Manifest {
        format: FORMAT,
        version: "v1.36.3".into(),
        architecture: "x86_64".into(),
        images: [("registry.k8s.io/pause:3".to_owned(), format!("sha256:{}", sha256(b"")))].into(),
        members: members().iter().map(described).collect(),
    }
}

/// Returns the members of an archive, in order.
fn parts(manifest: &Manifest) -> Vec<(String, Vec<u8>)> {
    let mut parts: Vec<_> = members().into_iter().map(|name| (name.clone(), content(&name))).collect();
    parts.push((MANIFEST.into(), serde_json::to_vec(manifest).unwrap()));
    parts
}

fn archive(parts: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, content) in parts {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, &content[..]).unwrap();
    }
    tar.into_inner().unwrap()
}

/// Reads an archive as an installation does, but for what the store does.
fn read(bytes: &[u8], version: &str, architecture: &str) -> Result<Bundle> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bundle.tar");
    files::put(&path, bytes, 0o644).unwrap();
    let bundle = Bundle::open(&path)?;
    bundle.check(version, architecture)?;
    bundle.verify(&AtomicU64::new(0))?;
    Ok(bundle)
}

#[test]
fn what_is_whole_and_fits_is_taken() {
    let bundle = read(&archive(&parts(&manifest())), "v1.36.3", "x86_64").unwrap();
    assert_eq!(bundle.manifest, manifest());
}

#[test]
fn what_does_not_fit_is_refused_with_the_reason() {
    let bytes = archive(&parts(&manifest()));
    for (version, architecture, problem) in [
        (
            "v1.36.1",
            "x86_64",
            "has Kubernetes v1.36.3, and v1.36.1 was asked for; --kubernetes-version v1.36.3 takes it",
        ),
        ("v1.36.3", "aarch64", "is for x86_64, and this machine is aarch64"),
    ] {
        let error = read(&bytes, version, architecture).unwrap_err().to_string();
        assert!(error.contains("bundle.tar") && error.contains(problem), "{error}");
    }
}

#[test]
fn what_is_cut_off_is_refused() {
    let bytes = archive(&parts(&manifest()));
    // The last two blocks are the end; without the second of them nothing is missing.
    for length in (0..=bytes.len() - 1024).step_by(256) {
        let error = read(&bytes[..length], "v1.36.3", "x86_64").unwrap_err().to_string();
        let words = ["is cut off", "is no archive of `shimctl bundle`"];
        assert!(words.iter().any(|word| error.contains(word)), "{length}: {error}");
    }
    read(&bytes[..bytes.len() - 512], "v1.36.3", "x86_64").unwrap();
}

#[test]
fn what_was_changed_is_named() {
    let whole = parts(&manifest());
    for number in 0..whole.len() - 1 {
        let mut changed = whole.clone();
        changed[number].1[7] ^= 1;
        let error = read(&archive(&changed), "v1.36.3", "x86_64").unwrap_err().to_string();
        let name = &whole[number].0;
        assert!(error.contains(&format!("{name} has the SHA-256 ")), "{error}");
        changed[number].1.pop();
        let error = read(&archive(&changed), "v1.36.3", "x86_64").unwrap_err().to_string();
        assert!(error.contains(&format!("{name} has ")) && error.contains(" bytes, and not "), "{error}");
        changed.remove(number);
        let error = read(&archive(&changed), "v1.36.3", "x86_64").unwrap_err().to_string();
        assert!(error.contains(&format!("lacks {name}")), "{error}");
    }
}

#[test]
fn hostile_archives_are_refused() {
    let with = |name: &str| {
        let mut parts = parts(&manifest());
        parts.insert(0, (name.into(), b"x".to_vec()));
        archive(&parts)
    };
    for (bytes, problem) in [
        (with("bin/sh"), "is no archive of `shimctl bundle`"),
        (with("etc/passwd"), "is no archive of `shimctl bundle`"),
        (with("bin/kubelet"), "has bin/kubelet twice"),
        (with(&"long/".repeat(40)), "is no archive of `shimctl bundle`"),
        (b"text".repeat(1000), "is no archive of `shimctl bundle`"),
        (Vec::new(), "is no archive of `shimctl bundle`"),
        (vec![0; 4096], "has no manifest.json"),
        (archive(&[(MANIFEST.into(), vec![b' '; 2 << 20])]), "too large"),
    ] {
        let error = read(&bytes, "v1.36.3", "x86_64").unwrap_err().to_string();
        assert!(error.contains(problem), "{problem}: {error}");
    }
    for (damage, problem) in [
        ((|manifest| manifest.format = 2) as fn(&mut Manifest), "has format 2"),
        (|manifest| manifest.images.clear(), "kubeadm's list of images"),
        (|manifest| drop(manifest.images.insert("busybox".into(), String::new())), "busybox"),
        (|manifest| manifest.images.values_mut().for_each(|id| id.push('0')), "where a digest should be"),
        (|manifest| drop(manifest.members.remove(IMAGES)), "other members"),
        (
            |manifest| {
                let member = manifest.members[IMAGES].clone();
                manifest.members.insert("bin/../../etc/passwd".into(), member);
            },
            "other members",
        ),
    ] {
        let mut manifest = manifest();
        damage(&mut manifest);
        let error = read(&archive(&parts(&manifest)), "v1.36.3", "x86_64").unwrap_err().to_string();
        assert!(error.contains(problem), "{problem}: {error}");
    }
    assert!(
        Bundle::open(std::path::Path::new("/nowhere.tar")).unwrap_err().to_string().contains("/nowhere.tar")
    );
    assert!(Bundle::open(std::path::Path::new("/")).is_err());
}
