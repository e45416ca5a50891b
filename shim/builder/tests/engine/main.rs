//! The engine in surroundings of the tests' own: no registry, no mounts, no processes, no privileges.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod cache;
mod copy;
mod parallel;
mod results;
mod world;
