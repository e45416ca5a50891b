//! What is changed in requests to containerd and in its answers. Pure: bytes in, bytes out.

use std::collections::BTreeMap;

use cachestore::Digest;
use cachestore::images::Image;
use prost::{DecodeError, Message};
use proto::cri;

use super::wire;

/// Field numbers of the protocol (cri-api 0.36).
mod field {
    pub(super) const RUN_CONFIG: u32 = 1;
    pub(super) const CREATE_CONFIG: u32 = 2;
    pub(super) const CREATE_SANDBOX_CONFIG: u32 = 3;
    pub(super) const SANDBOX_LINUX: u32 = 8;
    pub(super) const LINUX_CGROUP_PARENT: u32 = 1;
    pub(super) const CONTAINER_CONFIG_IMAGE: u32 = 2;
    pub(super) const CONTAINER_CONFIG_MOUNTS: u32 = 7;
    pub(super) const MOUNT_IMAGE: u32 = 9;
    pub(super) const SPEC_IMAGE: u32 = 1;
    pub(super) const LIST_CONTAINERS: u32 = 1;
    pub(super) const CONTAINER_IMAGE: u32 = 4;
    pub(super) const CONTAINER_IMAGE_ID: u32 = 10;
    pub(super) const STATUS: u32 = 1;
    pub(super) const STATUS_IMAGE: u32 = 8;
    pub(super) const STATUS_IMAGE_ID: u32 = 17;
    pub(super) const STATS: u32 = 1;
    pub(super) const STATS_WRITABLE_LAYER: u32 = 4;
    pub(super) const USAGE_FS_ID: u32 = 2;
    pub(super) const FS_MOUNTPOINT: u32 = 1;
    pub(super) const POD_STATS_LINUX: u32 = 2;
    pub(super) const POD_STATS_CONTAINERS: u32 = 5;
}

/// Which of the store's images a container runs; `None` if it is gone.
pub(super) type FindImage<'a> = &'a dyn Fn(&str) -> Option<std::sync::Arc<Image>>;

fn cgroup_parent(parent: &str) -> Vec<u8> {
    wire::message(field::SANDBOX_LINUX, &wire::message(field::LINUX_CGROUP_PARENT, parent.as_bytes()))
}

fn lacks_cgroup_parent(config: Option<&cri::PodSandboxConfig>) -> bool {
    config.and_then(|config| config.linux.as_ref()).is_none_or(|linux| linux.cgroup_parent.is_empty())
}

/// RunPodSandbox: fills an empty cgroup parent.
pub(super) fn run_pod_sandbox(bytes: &[u8], parent: &str) -> Result<Vec<u8>, DecodeError> {
    let request = cri::RunPodSandboxRequest::decode(bytes)?;
    let mut bytes = bytes.to_vec();
    if !parent.is_empty() && lacks_cgroup_parent(request.config.as_ref()) {
        wire::append(&mut bytes, field::RUN_CONFIG, &cgroup_parent(parent));
    }
    Ok(bytes)
}

/// The IDs of the images that a request names, by the words that it names them with.
pub(super) type Named = BTreeMap<String, Digest>;

/// CreateContainer: names the image and those of image volumes by their IDs, and fills an empty cgroup parent.
pub(super) fn create_container(bytes: &[u8], images: &Named, parent: &str) -> Result<Vec<u8>, DecodeError> {
    let request = cri::CreateContainerRequest::decode(bytes)?;
    let config = request.config.unwrap_or_default();
    let id_of = |spec: Option<&cri::ImageSpec>| spec.and_then(|spec| images.get(&spec.image));
    let spec_of = |id: &Digest| wire::message(field::SPEC_IMAGE, id.to_string().as_bytes());
    let mut bytes = bytes.to_vec();
    if config.mounts.iter().any(|mount| id_of(mount.image.as_ref()).is_some()) {
        bytes = wire::replace_each(&bytes, field::CREATE_CONFIG, |config| {
            wire::replace_each(config, field::CONTAINER_CONFIG_MOUNTS, |bytes| {
                let mut mount = bytes.to_vec();
                if let Some(id) = id_of(cri::Mount::decode(bytes)?.image.as_ref()) {
                    wire::append(&mut mount, field::MOUNT_IMAGE, &spec_of(id));
                }
                Ok(mount)
            })
        })?;
    }
    if let Some(id) = id_of(config.image.as_ref()) {
        let image = wire::message(field::CONTAINER_CONFIG_IMAGE, &spec_of(id));
        wire::append(&mut bytes, field::CREATE_CONFIG, &image);
    }
    if !parent.is_empty() && lacks_cgroup_parent(request.sandbox_config.as_ref()) {
        wire::append(&mut bytes, field::CREATE_SANDBOX_CONFIG, &cgroup_parent(parent));
    }
    Ok(bytes)
}

/// ListContainers and StreamContainers: one image identity everywhere.
pub(super) fn containers(bytes: &[u8], find: FindImage<'_>) -> Result<Vec<u8>, DecodeError> {
    wire::replace_each(bytes, field::LIST_CONTAINERS, |element| {
        let container = cri::Container::decode(element)?;
        let spec = container.image.unwrap_or_default();
        let identity = Identity::of(&spec, &container.image_ref, &container.image_id, find);
        Ok(identity.append(element, field::CONTAINER_IMAGE, field::CONTAINER_IMAGE_ID))
    })
}

/// ContainerStatus: the same.
pub(super) fn container_status(bytes: &[u8], find: FindImage<'_>) -> Result<Vec<u8>, DecodeError> {
    wire::replace_each(bytes, field::STATUS, |element| {
        let status = cri::ContainerStatus::decode(element)?;
        let spec = status.image.unwrap_or_default();
        let identity = Identity::of(&spec, &status.image_ref, &status.image_id, find);
        Ok(identity.append(element, field::STATUS_IMAGE, field::STATUS_IMAGE_ID))
    })
}

/// What an answer must say of a container's image and does not say yet.
struct Identity {
    image_id: Option<String>,
    name: Option<String>,
}

impl Identity {
    fn of(spec: &cri::ImageSpec, image_ref: &str, image_id: &str, find: FindImage<'_>) -> Self {
        let known = if image_id.is_empty() { image_ref } else { image_id };
        let image = find(known);
        let id = match &image {
            Some(image) => Some(image.id.to_string()),
            // The image has been removed while the container runs on; its ID is still its ID.
            None => known.parse::<Digest>().ok().map(|id| id.to_string()),
        };
        let name = image.and_then(|image| shown_name(&image, spec)).filter(|name| *name != spec.image);
        Self { image_id: id.filter(|_| image_id.is_empty()), name }
    }

    fn append(self, element: &[u8], image_field: u32, id_field: u32) -> Vec<u8> {
        let mut element = element.to_vec();
        if let Some(name) = self.name {
            wire::append(&mut element, image_field, &wire::message(field::SPEC_IMAGE, name.as_bytes()));
        }
        if let Some(id) = self.image_id {
            wire::append(&mut element, id_field, id.as_bytes());
        }
        element
    }
}

/// The name that the user chose if the image has it, else what containerd says if that is a name, else any name.
fn shown_name(image: &Image, spec: &cri::ImageSpec) -> Option<String> {
    let names: Vec<String> = image.names.iter().map(|name| name.reference.to_string()).collect();
    let chosen = spec.user_specified_image.parse::<cachestore::Reference>().ok().map(|name| name.to_string());
    let has = |name: &String| names.contains(name);
    chosen.filter(has).or_else(|| Some(spec.image.clone()).filter(has)).or_else(|| names.first().cloned())
}

fn mountpoint(stats: &[u8], directory: &str) -> Result<Vec<u8>, DecodeError> {
    let has_layer = cri::ContainerStats::decode(stats)?.writable_layer.is_some();
    let mut stats = stats.to_vec();
    if has_layer {
        let fs_id = wire::message(field::FS_MOUNTPOINT, directory.as_bytes());
        wire::append(&mut stats, field::STATS_WRITABLE_LAYER, &wire::message(field::USAGE_FS_ID, &fs_id));
    }
    Ok(stats)
}

/// ContainerStats, ListContainerStats and StreamContainerStats: a directory that exists.
pub(super) fn container_stats(bytes: &[u8], directory: &str) -> Result<Vec<u8>, DecodeError> {
    wire::replace_each(bytes, field::STATS, |stats| mountpoint(stats, directory))
}

/// PodSandboxStats, ListPodSandboxStats and StreamPodSandboxStats: the same for every container.
pub(super) fn pod_stats(bytes: &[u8], directory: &str) -> Result<Vec<u8>, DecodeError> {
    wire::replace_each(bytes, field::STATS, |pod| {
        wire::replace_each(pod, field::POD_STATS_LINUX, |linux| {
            wire::replace_each(linux, field::POD_STATS_CONTAINERS, |stats| mountpoint(stats, directory))
        })
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use cachestore::images::{Name, Origin};

    use super::*;

    fn image(names: &[&str]) -> Arc<Image> {
        Arc::new(Image {
            id: Digest::of(b"image"),
            manifest: Digest::of(b"manifest"),
            origin: Origin::Built,
            names: names.iter().map(|name| Name { reference: name.parse().unwrap(), local: true }).collect(),
            repo_digests: vec![],
            diff_ids: vec![],
            chain: None,
            size_bytes: 1,
            created: None,
            user: String::new(),
            stored_at: 0,
        })
    }

    fn spec(image: &str, user: &str) -> cri::ImageSpec {
        cri::ImageSpec { image: image.into(), user_specified_image: user.into(), ..cri::ImageSpec::default() }
    }

    #[test]
    fn containers_get_the_image_id_and_a_name() {
        let id = Digest::of(b"image").to_string();
        let gone = Digest::of(b"gone").to_string();
        let (a, b) = ("docker.io/library/a:latest", "docker.io/library/b:1");
        for (image_ref, given, user, expected_id, expected_name) in [
            (id.as_str(), id.as_str(), "", id.as_str(), a),
            (&id, b, "", &id, b),
            (&id, a, "b:1", &id, b),
            (&id, a, "unknown", &id, a),
            ("docker.io/library/a@sha256:x", a, "", &id, a),
            (&gone, "docker.io/library/old:1", "", &gone, "docker.io/library/old:1"),
            ("not known", "x", "", "", "x"),
        ] {
            let container = cri::Container {
                id: "c".into(),
                image: Some(spec(given, user)),
                image_ref: image_ref.into(),
                ..cri::Container::default()
            };
            let list = cri::ListContainersResponse { containers: vec![container.clone(), container] };
            let find = |word: &str| (word == id || word.contains("a@")).then(|| image(&["a", "b:1"]));
            let bytes = containers(&list.encode_to_vec(), &find).unwrap();
            for container in cri::ListContainersResponse::decode(&bytes[..]).unwrap().containers {
                assert_eq!(container.image_id, expected_id, "{image_ref} {given}");
                let image = container.image.unwrap();
                assert_eq!(
                    (image.image.as_str(), image.user_specified_image.as_str()),
                    (expected_name, user)
                );
            }
        }
    }

    #[test]
    fn what_newer_kubelets_say_survives() {
        let id = Digest::of(b"image");
        let images = Named::from([("hellodocker".to_owned(), id)]);
        let volume = cri::Mount { image: Some(spec("hellodocker", "")), ..cri::Mount::default() };
        let plain = cri::Mount { container_path: "/etc/hosts".into(), ..cri::Mount::default() };
        for mounts in [vec![], vec![plain, volume]] {
            let config = cri::ContainerConfig { image: Some(spec("hellodocker", "hellodocker")), mounts };
            let request = cri::CreateContainerRequest { config: Some(config.clone()), ..Default::default() };
            let mut bytes = wire::message(77, b"new");
            bytes.extend(request.encode_to_vec());
            let changed = create_container(&bytes, &images, "/shim/pods").unwrap();
            assert!(changed.starts_with(&wire::message(77, b"new")));
            assert!(changed.starts_with(&bytes) || !config.mounts.is_empty());
            let read = cri::CreateContainerRequest::decode(&changed[..]).unwrap();
            let mut expected = config;
            expected.image = Some(spec(&id.to_string(), "hellodocker"));
            if let Some(volume) = expected.mounts.get_mut(1) {
                volume.image = Some(spec(&id.to_string(), ""));
            }
            assert_eq!(read.config.unwrap(), expected);
            assert_eq!(read.sandbox_config.unwrap().linux.unwrap().cgroup_parent, "/shim/pods");
            assert_eq!(create_container(&bytes, &Named::new(), "").unwrap(), bytes);
        }
    }

    #[test]
    fn a_cgroup_parent_that_is_there_stays() {
        let linux = cri::LinuxPodSandboxConfig { cgroup_parent: "/kubepods/x".into() };
        let config = Some(cri::PodSandboxConfig { linux: Some(linux) });
        let bytes = cri::RunPodSandboxRequest { config }.encode_to_vec();
        assert_eq!(run_pod_sandbox(&bytes, "/shim/pods").unwrap(), bytes);
        let filled = run_pod_sandbox(b"", "/shim/pods").unwrap();
        let read = cri::RunPodSandboxRequest::decode(&filled[..]).unwrap();
        assert_eq!(read.config.unwrap().linux.unwrap().cgroup_parent, "/shim/pods");
    }

    #[test]
    fn statistics_name_a_directory_that_exists() {
        let usage = cri::FilesystemUsage {
            timestamp: 5,
            fs_id: Some(cri::FilesystemIdentifier { mountpoint: "/nowhere".into() }),
            ..cri::FilesystemUsage::default()
        };
        let with = cri::ContainerStats { writable_layer: Some(usage) };
        let without = cri::ContainerStats { writable_layer: None };
        let pod = cri::PodSandboxStats {
            linux: Some(cri::LinuxPodSandboxStats { containers: vec![with.clone(), without.clone()] }),
        };
        let changed = pod_stats(&wire::message(1, &pod.encode_to_vec()), "/store").unwrap();
        let pod = wire::replace_each(&changed, 1, |pod| {
            let containers = cri::PodSandboxStats::decode(pod)?.linux.unwrap().containers;
            let layer = containers[0].writable_layer.clone().unwrap();
            assert_eq!((layer.fs_id.unwrap().mountpoint.as_str(), layer.timestamp), ("/store", 5));
            assert_eq!(containers[1], without);
            Ok(pod.to_vec())
        });
        assert!(pod.is_ok());
        let one = container_stats(&wire::message(1, &with.encode_to_vec()), "/store").unwrap();
        assert!(String::from_utf8_lossy(&one).contains("/store"));
    }
}
