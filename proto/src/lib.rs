#![doc = include_str!("../README.md")]
#![allow(missing_docs, reason = "the documentation is in the .proto files")]
#![allow(
    clippy::all,
    clippy::too_many_lines,
    clippy::allow_attributes_without_reason,
    reason = "this is generated code"
)]

/// Kubernetes' Container Runtime Interface: the image service whole, of the runtime service what shimd looks at.
pub mod cri {
    tonic::include_proto!("runtime.v1");
}

pub use containerd::services::snapshots::v1 as snapshots;

/// containerd's own packages, nested as generated code refers to them.
pub mod containerd {
    /// Types that its services share.
    pub mod types {
        tonic::include_proto!("containerd.types");
    }
    /// Its services.
    pub mod services {
        /// The snapshots API.
        pub mod snapshots {
            /// Its one version.
            pub mod v1 {
                tonic::include_proto!("containerd.services.snapshots.v1");
            }
        }
    }
}

/// The control API of shimd, which shimctl and bootstrap use.
pub mod control {
    tonic::include_proto!("shim.control.v1");
}

/// The API of bootstrap's lifecycle service.
pub mod lifecycle {
    tonic::include_proto!("shim.lifecycle.v1");
}

/// The API of the lifecycle service's listeners on localhost.
pub mod ports {
    tonic::include_proto!("shim.ports.v1");
}
