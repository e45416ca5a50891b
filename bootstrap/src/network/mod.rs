//! Decisions about the network: addresses, rules, what of other people's rules is in the way. Nothing here has effects.

pub(crate) mod cni;
pub(crate) mod foreign;
pub(crate) mod hosts;
pub(crate) mod ruleset;
pub(crate) mod subnet;
