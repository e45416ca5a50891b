#![doc = include_str!("../README.md")]

mod addon;
mod cgroup;
mod cli;
mod cluster;
mod command;
mod component;
mod config;
mod containerd;
mod cri;
mod dns;
mod doctor;
mod enter;
mod error;
mod event;
mod fault;
mod files;
mod hold;
mod kubeadm;
mod kubeconfig;
mod machine;
mod mounts;
mod network;
mod node;
mod operator;
mod paths;
mod pki;
mod ports;
mod process;
mod reset;
mod sequence;
mod service;
mod start;
mod state;
mod step;
mod supervise;

pub use cli::run;
