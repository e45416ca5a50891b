//! What runs in the cluster beside kubeadm's parts: the storage provisioner, the port forwarder, and the storage class. Their
//! objects and their image as data; who applies and builds them is elsewhere.

mod image;
mod manifest;
mod rules;

pub(crate) use image::{context, image};
pub(crate) use manifest::Addons;
