//! Tests on a real Kubernetes: `tests/run cluster`.

mod disk;
mod kills;
mod kubeconfig;
mod life;
mod pods;
mod ports;
mod readme;
mod security;
mod storage;
mod story;
mod two;
mod version;
mod workloads;
