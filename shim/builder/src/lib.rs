#![doc = include_str!("../README.md")]

pub mod dockerfile;
pub mod ignore;
pub mod wildcard;
