//! Names for the box: questions that reach the machine's end of the link go on to whoever answers the machine's own.
//!
//! The box cannot ask the machine's resolvers itself where they listen on loopback only, as systemd-resolved does.

mod forward;
mod message;
mod names;
mod resolv_conf;

pub(crate) use forward::Resolver;
pub(crate) use names::Names;
pub(crate) use resolv_conf::for_box;
