//! Images with many layers.

use anyhow::Result;

use super::{Set, busybox, environment};
use crate::image::{Compression, Entry, Layer, Recipe};
use crate::images::base_entries;

/// How many layers the images have. With the names that containerd gives its layers, 46 fit into one page of mount
/// options and 61 do not; 127 is the most that dockerd makes.
pub const LAYER_COUNTS: [usize; 5] = [1, 2, 46, 61, 127];

/// Returns `docker.io/test/layers`, tags `1`, `2`, `46`, `61` and `127`: busybox below, and in layer N a file
/// `/layers/N` with its number; every layer rewrites `/top` with its number.
///
/// # Errors
/// busybox is not installed, or the cache cannot be written.
pub fn layers_set() -> Result<Set> {
    Set::cached("layers", &[include_bytes!("many.rs"), &busybox()?], |maker| {
        let mut layers = vec![Layer::write(maker.blobs(), Compression::Gzip, base_entries()?)?];
        for number in 2..=LAYER_COUNTS.into_iter().max().unwrap_or_default() {
            let text = number.to_string();
            let entries = [
                Entry::dir("layers"),
                Entry::file(format!("layers/{number}"), text.as_str()),
                Entry::file("top", text.as_str()),
            ];
            layers.push(Layer::write(maker.blobs(), Compression::Gzip, entries)?);
        }
        for count in LAYER_COUNTS {
            let recipe = layers.iter().take(count).fold(Recipe::default(), Recipe::layer);
            let image = recipe.config(environment(&["sh"])).write(maker.blobs())?;
            maker.add("docker.io/test/layers", &[&count.to_string()], &image);
        }
        Ok(())
    })
}
