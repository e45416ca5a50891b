//! Volumes: what claims get, where it lies, and what becomes of it.

use anyhow::{Result, ensure};
use serde_json::Value;
use tests::{eventually, files};

use crate::workloads::{SOON, Site};

/// The directory of the volumes of the namespace `default`, on the host.
const VOLUMES: &str = "/var/lib/shim/volumes/default";
/// The claims that are served.
pub(crate) const CLAIMS: &str = include_str!("manifests/claims.yaml");
/// What a pod looks for that comes later: the letter of an earlier one.
const READER: &str = "
apiVersion: v1
kind: Pod
metadata: {name: reader}
spec:
  restartPolicy: Never
  securityContext: {runAsUser: 1234}
  containers:
    - name: main
      image: busybox
      command: [sh, -c, 'ls /own; cat /retained/letter; echo read >/retained/reader']
      volumeMounts: [{name: own, mountPath: /own}, {name: retained, mountPath: /retained}]
  volumes:
    - {name: own, persistentVolumeClaim: {claimName: own}}
    - {name: retained, persistentVolumeClaim: {claimName: retained}}
";

fn has_phase(site: &Site, kind: &str, name: &str, phase: &str) -> Result<Value> {
    site.cluster.until(&[kind, name], phase, |object| object["status"]["phase"] == phase)
}

/// Returns the name of a claim's volume.
fn volume(site: &Site, claim: &str) -> Result<String> {
    let claim = has_phase(site, "pvc", claim, "Bound")?;
    Ok(claim["spec"]["volumeName"].as_str().unwrap_or_default().to_owned())
}

pub(crate) fn claims_are_served(site: &Site) -> Result<()> {
    let class = site.cluster.get(&["storageclass", "hostpath"])?;
    assert_eq!(class["metadata"]["annotations"]["storageclass.kubernetes.io/is-default-class"], "true");
    assert_eq!(class["reclaimPolicy"], "Delete");
    for (claim, size, mode, policy) in [
        ("own", "1500Mi", "ReadWriteOnce", "Delete"),
        ("shared.by-two", "2Gi", "ReadWriteMany", "Delete"),
        ("retained", "1Gi", "ReadWriteOnce", "Retain"),
    ] {
        let name = volume(site, claim)?;
        let spec = &site.cluster.get(&["pv", &name])?["spec"];
        assert_eq!(spec["hostPath"]["path"], format!("{VOLUMES}/{claim}"));
        assert_eq!(spec["capacity"]["storage"], size);
        assert_eq!(spec["accessModes"][0], mode);
        assert_eq!(spec["persistentVolumeReclaimPolicy"], policy);
        let record: Value = serde_json::from_str(&site.host.sh(&format!("cat {VOLUMES}/.{claim}"))?)?;
        assert_eq!((&record["volume"], &record["requested"]), (&name.into(), &size.into()), "{record}");
    }
    // Pods of different users write to them.
    for pod in ["first", "second"] {
        has_phase(site, "pod", pod, "Succeeded")?;
    }
    assert_eq!(site.cluster.kubectl(&["logs", "second"]).stdout()?, "from first");
    let owners =
        format!("cd {VOLUMES}; stat -c '%n %u' own/letter shared.by-two/letter shared.by-two/answer");
    assert_eq!(site.host.sh(&owners)?, "own/letter 1000\nshared.by-two/letter 1000\nshared.by-two/answer 33");
    // Nobody else of the machine.
    let outsider = format!("setpriv --reuid 1000 --clear-groups cat {VOLUMES}/own/letter");
    ensure!(site.host.sh(&outsider).is_err(), "another user reads it");
    Ok(())
}

pub(crate) fn bad_claims_are_told_why(site: &Site) -> Result<()> {
    let zero = "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: zero}\n\
                spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 0}}}\n";
    let refused = site.cluster.apply(zero).err().map(|error| error.to_string()).unwrap_or_default();
    ensure!(refused.contains("must be greater than zero"), "{refused}");
    for (claim, why) in [
        ("absurd", "it must be less than 8Ei"),
        ("read-only", "its access mode ReadOnlyMany is not offered"),
        ("block", "it wants a block device; the volumes of this class are directories"),
    ] {
        let of = format!("involvedObject.name={claim},reason=ProvisioningFailed");
        site.cluster.until(&["events", "--field-selector", &of], why, |events| {
            events["items"][0]["message"].as_str().is_some_and(|message| message.contains(why))
        })?;
        assert_eq!(site.cluster.get(&["pvc", claim])?["status"]["phase"], "Pending");
    }
    site.cluster.kubectl(&["delete", "pvc", "absurd", "read-only", "block"]).run().map(drop)
}

/// Nothing is deleted but what is the volume's own, whatever it points at.
pub(crate) fn volumes_are_deleted_or_retained(site: &Site) -> Result<()> {
    let (own, retained) = (volume(site, "own")?, volume(site, "retained")?);
    let precious = site.host.dir().join("precious/letter");
    files::put(&precious, "precious")?;
    site.host.sh(&format!("ln -s {}/precious {VOLUMES}/own/trap", site.host.dir().display()))?;
    site.cluster.kubectl(&["delete", "pod", "first", "second", "--now"]).run()?;
    site.cluster.kubectl(&["delete", "pvc", "own", "retained", "shared.by-two"]).run()?;
    eventually(SOON, "the volumes to go", || {
        let left = site.host.sh(&format!("cd {VOLUMES}; ls -A; ls -A ../.deleted 2>/dev/null || true"))?;
        let others = |line: &&str| !line.contains("db-0");
        let left: Vec<&str> = left.lines().filter(others).collect();
        ensure!(left == [".retained", "retained"], "{left:?}");
        let volumes = site.cluster.get(&["pv"])?.to_string();
        ensure!(!volumes.contains(&own), "{own} is there");
        Ok(())
    })?;
    assert_eq!(files::text(&precious)?, "precious");
    has_phase(site, "pv", &retained, "Released")?;

    // The same claims again: one is new, one finds what was there.
    site.cluster.apply(CLAIMS)?;
    site.cluster.apply(READER)?;
    has_phase(site, "pod", "reader", "Succeeded")?;
    assert_eq!(site.cluster.kubectl(&["logs", "reader"]).stdout()?, "for later");
    ensure!(volume(site, "retained")? != retained, "it is the same volume");
    Ok(())
}
