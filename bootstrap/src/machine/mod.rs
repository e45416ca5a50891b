//! What an instance needs of the machine: how it is found out, and how what is missing is installed.

pub(crate) mod apt;
pub(crate) mod probe;
mod survey;

pub(crate) use survey::{containerd, controllers, lacking, packages, shimd, survey};
