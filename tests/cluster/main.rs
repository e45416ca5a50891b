//! Tests on a real Kubernetes: `tests/run cluster`.

mod story;
