//! Images of a given size, of text that compresses as program files do.

use std::io::Read;

use anyhow::Result;

use super::{Set, busybox, environment};
use crate::image::{Compression, Content, Entry, Kind, Layer, Recipe};
use crate::images::base_entries;

const LAYERS: u64 = 6;
const LAYER_BYTES: u64 = 50_000_000;

/// Sizes of files, in turn: mostly small, as in a distribution.
const FILE_BYTES: [u64; 8] = [2_000, 700, 9_000, 30_000, 4_000, 150_000, 1_500, 900_000];

/// Returns `docker.io/test/bench:latest`: six layers, busybox in the lowest, 300 MB in about 2,200 files, whose gzip has
/// 0.4 of that.
///
/// # Errors
/// busybox is not installed, or the cache cannot be written.
pub fn bench_set() -> Result<Set> {
    Set::cached("bench", &[include_bytes!("text.rs"), &busybox()?], |maker| {
        let mut recipe = Recipe::default().config(environment(&["sh"]));
        for number in 0..LAYERS {
            let mut entries = if number == 0 { base_entries()? } else { Vec::new() };
            entries.extend(text_layer_entries(&format!("data-{number}"), LAYER_BYTES, number));
            recipe = recipe.layer(&Layer::write(maker.blobs(), Compression::Gzip, entries)?);
        }
        let image = recipe.write(maker.blobs())?;
        maker.add("docker.io/test/bench", &["latest"], &image);
        Ok(())
    })
}

/// Returns a directory of files, together this many bytes; another seed gives other bytes.
pub fn text_layer_entries(dir: &str, bytes: u64, seed: u64) -> Vec<Entry> {
    let mut entries = vec![Entry::dir(dir)];
    let mut left = bytes;
    for (number, size) in FILE_BYTES.into_iter().cycle().enumerate() {
        if left == 0 {
            break;
        }
        let folder = format!("{dir}/{:03}", number / 100);
        if number % 100 == 0 {
            entries.push(Entry::dir(&folder));
        }
        let size = size.min(left);
        let text = Text::new(seed << 32 | number as u64);
        entries.push(Entry::new(
            format!("{folder}/{number:05}"),
            Kind::File(Content::Stream(size, Box::new(text))),
        ));
        left -= size;
    }
    entries
}

/// An endless text: words of a made-up vocabulary, frequent ones more often.
struct Text {
    random: Random,
    vocabulary: Vec<Vec<u8>>,
    line: Vec<u8>,
    at: usize,
}

impl Text {
    fn new(seed: u64) -> Self {
        // The vocabulary is the same for every text, or nothing but the seed would be in short files.
        let mut random = Random(7);
        let word = |random: &mut Random| {
            let length = 3 + random.below(8);
            (0..length).map(|_| b"etaoinshrdlucmfwypvbgkjqxz"[random.below(26)]).collect()
        };
        let vocabulary = (0..VOCABULARY).map(|_| word(&mut random)).collect();
        Self { random: Random(seed.wrapping_mul(0x9e37_79b9) + 1), vocabulary, line: Vec::new(), at: 0 }
    }

    fn next_line(&mut self) {
        self.line.clear();
        for _ in 0..12 {
            // The smaller of two draws: low numbers are drawn more often, as frequent words are.
            let word = self.random.below(VOCABULARY).min(self.random.below(VOCABULARY));
            self.line.extend_from_slice(&self.vocabulary[word]);
            self.line.push(b' ');
        }
        self.line.push(b'\n');
        self.at = 0;
    }
}

const VOCABULARY: usize = 4096;

impl Read for Text {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.at == self.line.len() {
            self.next_line();
        }
        let length = buffer.len().min(self.line.len() - self.at);
        buffer[..length].copy_from_slice(&self.line[self.at..self.at + length]);
        self.at += length;
        Ok(length)
    }
}

/// splitmix64: the same numbers on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let number = usize::try_from((z ^ (z >> 31)) >> 33).expect("31 bits fit");
        number % limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Blobs;

    #[test]
    fn text_compresses_to_two_fifths() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::in_dir(dir.path()).unwrap();
        let layer = Layer::write(&blobs, Compression::Gzip, text_layer_entries("d", 3_000_000, 1)).unwrap();
        let again = Layer::write(&blobs, Compression::Gzip, text_layer_entries("d", 3_000_000, 1)).unwrap();
        assert_eq!(layer, again);
        let percent = layer.blob_bytes * 100 / layer.tar_bytes;
        assert!((36..=44).contains(&percent), "{percent} %");
        assert!(layer.tar_bytes > 3_000_000 && layer.tar_bytes < 3_200_000);
    }
}
