#![doc = include_str!("../README.md")]

mod cgroup;
mod cli;
mod command;
mod config;
mod containerd;
mod dns;
mod doctor;
mod enter;
mod error;
mod event;
mod fault;
mod files;
mod hold;
mod machine;
mod mounts;
mod network;
mod node;
mod operator;
mod paths;
mod process;
mod sequence;
mod service;
mod start;
mod state;
mod step;
mod supervise;

pub use cli::run;
