//! GNU's sparse files: which parts of a file its archive holds.

use crate::error::{Error, Result};

/// More pieces than this are not a file, but an attack on memory.
const MAX_PIECES: usize = 1 << 20;
/// ext4 has no larger files; tools that read every byte of one would never end.
const MAX_REAL_BYTES: u64 = 16 << 40;

/// The pieces of a sparse file that hold data, in the order of the archive, and the file's whole size.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Map {
    pub(super) pieces: Vec<Piece>,
    pub(super) real_size: u64,
}

/// A run of data within a sparse file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) offset: u64,
    pub(super) length: u64,
}

impl Map {
    pub(super) fn new(real_size: u64) -> Result<Self> {
        if real_size > MAX_REAL_BYTES {
            return Err(Error::invalid("sparse file", real_size, "it claims more than 16 TiB"));
        }
        Ok(Self { pieces: Vec::new(), real_size })
    }

    /// Adds a piece. Pieces must ascend and lie within the file.
    pub(super) fn push(&mut self, offset: u64, length: u64) -> Result<()> {
        let start = self.pieces.last().map_or(0, |last| last.offset + last.length);
        let end = offset.checked_add(length).filter(|&end| end <= self.real_size);
        if self.pieces.len() >= MAX_PIECES || offset < start || end.is_none() {
            return Err(Error::invalid(
                "sparse file",
                format!("{offset}+{length}"),
                "its map is not in order",
            ));
        }
        self.pieces.push(Piece { offset, length });
        Ok(())
    }

    /// Returns how many bytes of data the pieces hold together.
    pub(super) fn stored_size(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.length).sum()
    }

    /// Parses `offset,length,offset,length…` (PAX format 0.1).
    pub(super) fn parse_pairs(numbers: &[u8], real_size: u64) -> Result<Self> {
        let mut map = Self::new(real_size)?;
        let mut numbers = numbers.split(|&byte| byte == b',');
        while let Some(offset) = numbers.next() {
            let length =
                numbers.next().ok_or_else(|| Error::invalid("sparse file", "", "its map ends early"))?;
            map.push(number(offset)?, number(length)?)?;
        }
        Ok(map)
    }
}

/// Parses a decimal number of a PAX record.
pub(super) fn number(digits: &[u8]) -> Result<u64> {
    std::str::from_utf8(digits).ok().and_then(|text| text.parse().ok()).ok_or_else(|| {
        Error::invalid("number in an archive", String::from_utf8_lossy(digits), "not a number")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_must_be_in_order_and_inside() {
        let map = Map::parse_pairs(b"0,10,20,5", 25).unwrap();
        assert_eq!(map.pieces, [Piece { offset: 0, length: 10 }, Piece { offset: 20, length: 5 }]);
        assert_eq!(map.stored_size(), 15);
        for bad in [&b"0,10,5,5"[..], b"20,6", b"0", b"x,1", b"18446744073709551615,1", b"-1,1"] {
            assert!(Map::parse_pairs(bad, 25).is_err(), "{:?}", String::from_utf8_lossy(bad));
        }
    }
}
