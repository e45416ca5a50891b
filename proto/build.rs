//! Generates the Rust types of the wire definitions beside it, without a protoc on the machine.

use std::error::Error;

const FILES: &[&str] = &[
    "cri/image.proto",
    "cri/runtime.proto",
    "containerd/snapshots.proto",
    "control/control.proto",
    "lifecycle/lifecycle.proto",
    "lifecycle/ports.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    for folder in ["cri", "containerd", "control", "lifecycle"] {
        println!("cargo::rerun-if-changed={folder}");
    }
    let descriptors = protox::compile(FILES, ["."])?;
    tonic_prost_build::configure().build_transport(false).compile_fds(descriptors)?;
    Ok(())
}
