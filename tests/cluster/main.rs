//! Tests on a real Kubernetes: `tests/run cluster`.

mod kills;
mod life;
mod ports;
mod readme;
mod security;
mod storage;
mod story;
mod two;
mod workloads;
