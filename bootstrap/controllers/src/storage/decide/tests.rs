use serde_json::json;

use super::*;

fn classes() -> BTreeMap<Name, Class> {
    BTreeMap::from([
        (Name::new("", "hostpath"), Class { policy: Policy::Delete }),
        (Name::new("", "kept"), Class { policy: Policy::Retain }),
    ])
}

fn sound() -> Claim {
    Claim {
        uid: "0a-1b".into(),
        resource_version: Some("7".into()),
        class: "hostpath".into(),
        requested: Some("1Gi".into()),
        access_modes: vec!["ReadWriteOnce".into()],
        wants_block: false,
        has_selector: false,
        has_source: false,
    }
}

fn earlier(policy: Policy, claim: &str, uid: Option<&str>) -> BTreeMap<Name, Volume> {
    let claim = Some((Name::new("shop", claim), uid.map(str::to_owned)));
    let volume = Volume { uid: "v".into(), claim, policy, is_released: false };
    BTreeMap::from([(Name::new("", "pvc-old"), volume)])
}

#[test]
fn a_sound_claim_gets_a_volume() {
    let name = Name::new("shop", "data");
    for (class, policy) in [("hostpath", Policy::Delete), ("kept", Policy::Retain)] {
        let modes = vec!["ReadWriteOnce".to_owned(), "ReadWriteMany".to_owned()];
        let asked = Claim { class: class.into(), access_modes: modes.clone(), ..sound() };
        let plan = Plan {
            claim: name.clone(),
            claim_uid: "0a-1b".into(),
            claim_version: Some("7".into()),
            volume: "pvc-0a-1b".into(),
            class: class.into(),
            policy,
            requested: "1Gi".into(),
            bytes: 1 << 30,
            access_modes: modes,
        };
        assert_eq!(claim(&name, &asked, &classes(), &BTreeMap::new()), ForClaim::Provision(plan));
    }
}

#[test]
fn other_classes_and_served_claims_are_left_alone() {
    let name = Name::new("shop", "data");
    let foreign = Claim { class: "fast-ssd".into(), ..sound() };
    assert_eq!(claim(&name, &foreign, &classes(), &BTreeMap::new()), ForClaim::Nothing);
    let mut volumes = earlier(Policy::Delete, "data", Some("0a-1b"));
    let volume = volumes.remove(&Name::new("", "pvc-old")).unwrap();
    volumes.insert(Name::new("", "pvc-0a-1b"), volume);
    assert_eq!(claim(&name, &sound(), &classes(), &volumes), ForClaim::Nothing);
}

#[test]
fn a_claim_waits_for_the_end_of_an_earlier_one_of_its_name() {
    let name = Name::new("shop", "data");
    for (volumes, waits) in [
        (earlier(Policy::Delete, "data", Some("other")), true),
        // Whose it is will be decided by who binds it.
        (earlier(Policy::Delete, "data", None), true),
        (earlier(Policy::Delete, "data", Some("0a-1b")), false),
        (earlier(Policy::Delete, "cache", Some("other")), false),
        // What is kept is found again.
        (earlier(Policy::Retain, "data", Some("other")), false),
    ] {
        let decided = claim(&name, &sound(), &classes(), &volumes);
        assert_eq!(decided == ForClaim::Wait("pvc-old".into()), waits, "{volumes:?}");
        assert_eq!(matches!(decided, ForClaim::Provision(_)), !waits, "{volumes:?}");
    }
}

#[test]
fn claims_that_cannot_be_served_are_told_why() {
    let modes = |mode: &str| vec!["ReadWriteOnce".to_owned(), mode.to_owned()];
    let requested = |text: &str| Some(text.to_owned());
    for (asked, expected) in [
        (Claim { requested: None, ..sound() }, "does not say how much"),
        (Claim { requested: requested("0"), ..sound() }, "requests \"0\" of storage; there must be some"),
        (
            Claim { requested: requested("9Ei"), ..sound() },
            "requests \"9Ei\" of storage; it must be less than 8Ei",
        ),
        (Claim { requested: requested("lots"), ..sound() }, "\"lots\" is not a size"),
        (Claim { requested: requested(&"9".repeat(5000)), ..sound() }, "999\" is not a size"),
        (Claim { access_modes: modes("ReadOnlyMany"), ..sound() }, "access mode ReadOnlyMany is not offered"),
        (Claim { access_modes: modes("ReadWriteOncePod"), ..sound() }, "ReadWriteOncePod is not offered"),
        (Claim { wants_block: true, ..sound() }, "wants a block device"),
        (Claim { has_selector: true, ..sound() }, "has a selector"),
        (Claim { has_source: true, ..sound() }, "has a data source"),
        (Claim { uid: "../x".into(), ..sound() }, "cannot be that of a directory"),
    ] {
        match claim(&Name::new("shop", "data"), &asked, &classes(), &BTreeMap::new()) {
            ForClaim::Refuse(problem) => {
                assert!(problem.contains(expected), "{problem}");
                assert!(problem.len() < 200, "{problem}");
            }
            other => panic!("{asked:?}: {other:?}"),
        }
    }
}

#[test]
fn names_that_are_no_names_are_refused() {
    let long = "a".repeat(254);
    for (namespace, name) in [
        ("..", "data"),
        ("", "data"),
        ("shop", ".."),
        ("shop", ""),
        ("shop", "a/b"),
        ("a.b", "data"),
        ("shop", &long),
    ] {
        let decided = claim(&Name::new(namespace, name), &sound(), &classes(), &BTreeMap::new());
        assert!(matches!(decided, ForClaim::Refuse(_)), "{namespace}/{name}: {decided:?}");
    }
}

#[test]
fn names_are_told_apart() {
    for (text, label, subdomain) in [
        ("a", true, true),
        ("data-web-0", true, true),
        ("0", true, true),
        ("a.b", false, true),
        ("a..b", false, false),
        (".a", false, false),
        ("a.", false, false),
        ("-a", false, false),
        ("a-", false, false),
        ("a.-b", false, false),
        ("A", false, false),
        ("a_b", false, false),
        ("a/b", false, false),
        ("a\0", false, false),
        ("ä", false, false),
        (".", false, false),
        ("..", false, false),
        ("", false, false),
        (&"a".repeat(63), true, true),
        (&"a".repeat(64), false, true),
        (&"a".repeat(253), false, true),
        (&"a".repeat(254), false, false),
    ] {
        assert_eq!((is_label(text), is_subdomain(text)), (label, subdomain), "{text:?}");
    }
}

#[test]
fn only_released_volumes_that_are_to_be_deleted_go() {
    let claim = Some((Name::new("shop", "data"), Some("u".to_owned())));
    for (policy, is_released, claim, expected) in [
        (Policy::Delete, true, claim.clone(), ForVolume::Delete(Some(Name::new("shop", "data")))),
        (Policy::Delete, false, claim.clone(), ForVolume::Nothing),
        (Policy::Retain, true, claim, ForVolume::Nothing),
        (Policy::Delete, true, None, ForVolume::Delete(None)),
        (Policy::Delete, true, Some((Name::new("..", "etc"), None)), ForVolume::Delete(None)),
        (Policy::Delete, true, Some((Name::new("shop", "../etc"), None)), ForVolume::Delete(None)),
    ] {
        let decided = volume(&Volume { uid: "v".into(), claim: claim.clone(), policy, is_released });
        assert_eq!(decided, expected, "{policy:?} {is_released} {claim:?}");
    }
}

#[test]
fn a_record_of_another_volume_names_an_earlier_owner() {
    let record = Record {
        volume: "pvc-1".into(),
        claim_uid: "1".into(),
        requested: "1Gi".into(),
        bytes: 1 << 30,
        policy: Policy::Delete,
        time: String::new(),
    };
    assert_eq!(earlier_owner(None, "pvc-1"), None);
    assert_eq!(earlier_owner(Some(&record), "pvc-1"), None);
    assert_eq!(earlier_owner(Some(&record), "pvc-2"), Some("pvc-1"));
}

fn seen_claim(annotation: &str, more: &serde_json::Value) -> Option<Claim> {
    let mut object = json!({
        "metadata": {"name": "data", "namespace": "shop", "uid": "u", "resourceVersion": "9", "annotations": {annotation: PROVISIONER}},
        "spec": {"storageClassName": "hostpath", "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    });
    for (key, value) in more.as_object().unwrap() {
        *object.pointer_mut(key).unwrap() = value.clone();
    }
    Claim::view(&serde_json::from_value(object).unwrap())
}

#[test]
fn claims_are_seen_when_something_is_awaited_of_us() {
    let [current, older] = AWAITED_OF;
    let plain = seen_claim(current, &json!({})).unwrap();
    assert_eq!((plain.class.as_str(), plain.requested.as_deref()), ("hostpath", Some("1Gi")));
    assert_eq!((plain.wants_block, plain.has_selector, plain.has_source), (false, false, false));
    assert_eq!(seen_claim(older, &json!({})), Some(plain.clone()));
    let demanding = json!({"/spec": {
        "storageClassName": "hostpath", "volumeMode": "Block", "selector": {}, "volumeName": "",
        "dataSource": {"kind": "PersistentVolumeClaim", "name": "x"},
    }});
    let demanding = seen_claim(current, &demanding).unwrap();
    assert_eq!((demanding.wants_block, demanding.has_selector, demanding.has_source), (true, true, true));
    assert_eq!(demanding.requested, None);
    let annotated = json!({"/metadata/annotations": {current: PROVISIONER, CLASS_ANNOTATION: "older"}});
    assert_eq!(seen_claim(current, &annotated).unwrap().class, "older");
    for (annotation, more) in [
        ("example.com/other", json!({})),
        (current, json!({"/metadata/annotations": {current: "example.com/other", older: PROVISIONER}})),
        (current, json!({"/spec": {"storageClassName": "hostpath", "volumeName": "pvc-1"}})),
        (current, json!({"/spec": {}})),
        (
            current,
            json!({"/metadata": {"name": "data", "annotations": {current: PROVISIONER},
            "uid": "u", "deletionTimestamp": "2026-11-21T17:00:00Z"}}),
        ),
    ] {
        assert_eq!(seen_claim(annotation, &more), None, "{annotation} {more}");
    }
}

#[test]
fn volumes_are_seen_if_they_are_ours() {
    let object = |by: &str, policy: &str, phase: &str| {
        let object = json!({
            "metadata": {"name": "pvc-1", "uid": "v", "annotations": {PROVISIONED_BY: by}},
            "spec": {"persistentVolumeReclaimPolicy": policy, "claimRef": {"namespace": "shop", "name": "data", "uid": "u"}},
            "status": {"phase": phase},
        });
        Volume::view(&serde_json::from_value(object).unwrap())
    };
    for (phase, is_released) in [("Released", true), ("Failed", true), ("Bound", false), ("Available", false)]
    {
        let claim = Some((Name::new("shop", "data"), Some("u".to_owned())));
        let expected = Volume { uid: "v".into(), claim, policy: Policy::Delete, is_released };
        assert_eq!(object(PROVISIONER, "Delete", phase), Some(expected), "{phase}");
    }
    assert_eq!(object(PROVISIONER, "Recycle", "Bound").unwrap().policy, Policy::Retain);
    assert_eq!(object("kubernetes.io/no-provisioner", "Delete", "Released"), None);
}

#[test]
fn classes_are_seen_if_they_are_ours() {
    for (provisioner, policy, expected) in [
        (PROVISIONER, json!("Delete"), Some(Policy::Delete)),
        (PROVISIONER, json!(null), Some(Policy::Delete)),
        (PROVISIONER, json!("Retain"), Some(Policy::Retain)),
        ("rancher.io/local-path", json!("Delete"), None),
    ] {
        let object = json!({"metadata": {"name": "c"}, "provisioner": provisioner, "reclaimPolicy": policy});
        let class = Class::view(&serde_json::from_value(object).unwrap());
        assert_eq!(class.map(|class| class.policy), expected, "{provisioner} {policy}");
    }
}
