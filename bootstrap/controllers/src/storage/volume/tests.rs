use std::fs;
use std::io::Write as _;

use serde_json::{Value, json};

use super::*;
use crate::fake::{Call, Server};

/// A directory of volumes with nothing in it.
struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn volumes(&self) -> Volumes {
        Volumes::open(self.directory.path()).unwrap()
    }

    fn effects(&self, server: &Server) -> Effects {
        Effects::new(server.client(), self.volumes())
    }

    /// Makes the claim's directory for a volume, with a file in it.
    fn filled_by(&self, volume: &str) {
        let record = Record { volume: volume.into(), ..record(&plan()) };
        self.volumes().make(&claim(), &record).unwrap();
        fs::File::create(self.file()).unwrap().write_all(b"data").unwrap();
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("shop/data/file")
    }

    fn owner(&self) -> Option<String> {
        self.volumes().record(&claim()).unwrap().map(|record| record.volume)
    }
}

fn claim() -> Name {
    Name::new("shop", "data")
}

fn plan() -> Plan {
    Plan {
        claim: claim(),
        claim_uid: "new".into(),
        claim_version: None,
        volume: "pvc-new".into(),
        class: "hostpath".into(),
        policy: Policy::Delete,
        requested: "1Gi".into(),
        bytes: 1 << 30,
        access_modes: vec!["ReadWriteOnce".into()],
    }
}

fn volume(policy: &str, claim_uid: &str) -> (u16, Value) {
    let volume = json!({
        "apiVersion": "v1", "kind": "PersistentVolume",
        "metadata": {"name": "v", "uid": "v", "annotations": {PROVISIONED_BY: PROVISIONER}},
        "spec": {
            "persistentVolumeReclaimPolicy": policy,
            "claimRef": {"namespace": "shop", "name": "data", "uid": claim_uid},
        },
    });
    (200, volume)
}

fn lines(server: &Server) -> Vec<String> {
    server.calls().iter().map(|call| format!("{} {}", call.method, call.path)).collect()
}

/// Echoes what is created.
fn created(call: &Call) -> (u16, Value) {
    (201, call.body.clone())
}

const POST: &str = "POST /api/v1/persistentvolumes";
const GET_OLD: &str = "GET /api/v1/persistentvolumes/pvc-old";
const GET_NEW: &str = "GET /api/v1/persistentvolumes/pvc-new";

#[tokio::test]
async fn a_new_volume_has_its_directory_and_names_its_claim() {
    let (place, server) = (Place::new(), Server::new(created));
    let made = place.effects(&server).provision(&plan()).await.unwrap();
    let path = place.directory.path().join("shop/data");
    assert!(matches!(made, Provisioned::Made(made) if made == path));
    assert!(path.is_dir());
    assert_eq!(place.owner().as_deref(), Some("pvc-new"));
    assert_eq!(lines(&server), [POST]);
    let spec = &server.calls()[0].body["spec"];
    assert_eq!(spec["hostPath"], json!({"path": path, "type": "Directory"}));
    assert_eq!(spec["claimRef"]["uid"], "new");
    assert_eq!(spec["capacity"]["storage"], "1Gi");
    assert_eq!(spec["persistentVolumeReclaimPolicy"], "Delete");
}

#[tokio::test]
async fn the_earlier_owner_decides_whether_data_is_taken_over() {
    for (earlier, is_taken_over) in
        [(Server::refusal(404), true), (volume("Retain", "old"), true), (volume("Delete", "old"), false)]
    {
        let place = Place::new();
        place.filled_by("pvc-old");
        let expected: &[&str] = if is_taken_over { &[GET_OLD, POST] } else { &[GET_OLD] };
        let server =
            Server::new(move |call| if call.method == "GET" { earlier.clone() } else { created(call) });
        let outcome = place.effects(&server).provision(&plan()).await.unwrap();
        match outcome {
            Provisioned::Made(_) => assert!(is_taken_over),
            Provisioned::Waits(volume) => assert_eq!((volume.as_str(), is_taken_over), ("pvc-old", false)),
        }
        assert_eq!(lines(&server), expected);
        assert_eq!(place.owner().as_deref(), Some(if is_taken_over { "pvc-new" } else { "pvc-old" }));
        assert_eq!(fs::read(place.file()).unwrap(), b"data");
    }
    // If it cannot be asked for, nothing is done.
    let place = Place::new();
    place.filled_by("pvc-old");
    let server = Server::new(|_| Server::refusal(500));
    let error = format!("{:#}", place.effects(&server).provision(&plan()).await.unwrap_err());
    assert_eq!(error, "cannot look for pvc-old: refused with 500");
    assert_eq!(place.owner().as_deref(), Some("pvc-old"));
}

#[tokio::test]
async fn a_volume_that_is_there_already_is_compared() {
    for (there, is_ours) in [(volume("Delete", "new"), true), (volume("Delete", "other"), false)] {
        let (place, there) = (Place::new(), there);
        let server =
            Server::new(move |call| if call.method == "GET" { there.clone() } else { Server::refusal(409) });
        let outcome = place.effects(&server).provision(&plan()).await;
        assert_eq!(outcome.is_ok(), is_ours, "{outcome:?}");
        assert_eq!(lines(&server), [POST, GET_NEW]);
    }
}

#[tokio::test]
async fn data_goes_before_its_volume_and_only_its_own() {
    const DELETE: &str = "DELETE /api/v1/persistentvolumes/pvc-old";
    for (owner, is_gone) in [("pvc-old", true), ("pvc-new", false)] {
        for (code, is_fine) in [(200, true), (404, true), (409, false), (500, false)] {
            let place = Place::new();
            place.filled_by(owner);
            let file = place.file();
            // When the volume is deleted, its data is no more.
            let server = Server::new(move |_| {
                assert_eq!(file.exists(), !is_gone);
                Server::refusal(code)
            });
            let outcome = place.effects(&server).delete("pvc-old", "v", Some(&claim())).await;
            assert_eq!(outcome.is_ok(), is_fine, "{code}: {outcome:?}");
            assert_eq!(lines(&server), [DELETE]);
            assert_eq!(server.calls()[0].body["preconditions"]["uid"], "v");
            assert_eq!(place.owner(), (!is_gone).then(|| owner.to_owned()));
        }
    }
    let (place, server) = (Place::new(), Server::new(|_| Server::refusal(404)));
    place.effects(&server).delete("pvc-old", "v", None).await.unwrap();
    assert_eq!(lines(&server), [DELETE]);
}
