//! Layers: trees on the disk, the tars that they are elsewhere, and the records that tie both together.

mod audit;
mod entry;
mod found;
mod header;
mod lookup;
mod lower;
mod noted;
mod pack;
mod pax;
mod prune;
mod recipe;
pub(crate) mod record;
mod sparse;
mod stream;
#[cfg(test)]
mod tests;
mod tree;
mod unpack;
mod whiteout;
mod workspace;

pub use lookup::ImageFile;
pub use record::{IfKeyed, Layer, LayerId, Step};
pub(crate) use stream::Members;
pub use unpack::Unpacked;
pub use workspace::Workspace;
