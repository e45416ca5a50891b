//! PAX records (POSIX.1-2001 pax, "extended header"): `LENGTH KEY=VALUE\n`.

use std::collections::BTreeMap;

use super::entry::Time;
use super::sparse::{self, number};
use crate::error::{Error, Result};

/// The key under which GNU tar and Go write extended attributes.
pub(super) const XATTR_PREFIX: &[u8] = b"SCHILY.xattr.";

/// What the extended headers in front of a member say about it.
#[derive(Debug, Default)]
pub(super) struct Records {
    pub(super) path: Option<Vec<u8>>,
    pub(super) linkpath: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) mtime: Option<Time>,
    pub(super) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(super) sparse: Sparse,
}

/// The records of GNU's three PAX forms of sparse files.
#[derive(Debug, Default)]
pub(super) struct Sparse {
    pub(super) major: u64,
    pub(super) name: Option<Vec<u8>>,
    pub(super) real_size: Option<u64>,
    /// Format 0.1.
    pub(super) map: Option<Vec<u8>>,
    /// Format 0.0: offsets and lengths take turns.
    pub(super) numbers: Vec<u64>,
}

impl Records {
    /// Adds the records of one extended header; later ones win.
    pub(super) fn add(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let (key, value, rest) = split_record(bytes)?;
            self.set(key, value)?;
            bytes = rest;
        }
        Ok(())
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        match key {
            // "An empty value": the header's own field counts.
            _ if value.is_empty() && !key.starts_with(XATTR_PREFIX) => {}
            b"path" => self.path = Some(value.to_vec()),
            b"linkpath" => self.linkpath = Some(value.to_vec()),
            b"size" => self.size = Some(number(value)?),
            b"uid" => self.uid = Some(number(value)?),
            b"gid" => self.gid = Some(number(value)?),
            b"mtime" => self.mtime = Some(parse_time(value)?),
            b"GNU.sparse.major" => self.sparse.major = number(value)?,
            b"GNU.sparse.name" => self.sparse.name = Some(value.to_vec()),
            b"GNU.sparse.size" | b"GNU.sparse.realsize" => self.sparse.real_size = Some(number(value)?),
            b"GNU.sparse.map" => self.sparse.map = Some(value.to_vec()),
            b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => self.sparse.numbers.push(number(value)?),
            _ => {
                if let Some(name) = key.strip_prefix(XATTR_PREFIX) {
                    self.xattrs.insert(name.to_vec(), value.to_vec());
                }
            }
        }
        Ok(())
    }

    /// Returns the map of a sparse file in format 0.0 or 0.1; in format 1.0 it stands before the data.
    pub(super) fn sparse_map(&self) -> Result<Option<sparse::Map>> {
        let Some(real_size) = self.sparse.real_size else { return Ok(None) };
        if let Some(pairs) = &self.sparse.map {
            return sparse::Map::parse_pairs(pairs, real_size).map(Some);
        }
        if self.sparse.numbers.is_empty() {
            return Ok(None);
        }
        let mut map = sparse::Map::new(real_size)?;
        for pair in self.sparse.numbers.chunks(2) {
            let &[offset, length] = pair else {
                return Err(Error::invalid("sparse file", "", "its map ends early"));
            };
            map.push(offset, length)?;
        }
        Ok(Some(map))
    }
}

/// Splits the first record off: key, value, rest.
fn split_record(bytes: &[u8]) -> Result<(&[u8], &[u8], &[u8])> {
    let wrong = || Error::invalid("extended header of an archive", "", "its records are damaged");
    let space = bytes.iter().position(|&byte| byte == b' ').ok_or_else(wrong)?;
    let length = usize::try_from(number(&bytes[..space])?).map_err(|_| wrong())?;
    if length <= space + 1 || length > bytes.len() || bytes[length - 1] != b'\n' {
        return Err(wrong());
    }
    let record = &bytes[space + 1..length - 1];
    let equals = record.iter().position(|&byte| byte == b'=').ok_or_else(wrong)?;
    Ok((&record[..equals], &record[equals + 1..], &bytes[length..]))
}

/// Parses `SECONDS[.FRACTION]`, which may be negative.
fn parse_time(text: &[u8]) -> Result<Time> {
    let wrong =
        || Error::invalid("time in an archive", String::from_utf8_lossy(text), "not a number of seconds");
    let text = std::str::from_utf8(text).map_err(|_| wrong())?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().map_err(|_| wrong())?;
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let nanoseconds: u32 = digits.parse().map_err(|_| wrong())?;
    if nanoseconds != 0 && whole.starts_with('-') {
        let seconds = seconds.checked_sub(1).ok_or_else(wrong)?;
        return Ok(Time { seconds, nanoseconds: 1_000_000_000 - nanoseconds });
    }
    Ok(Time { seconds, nanoseconds })
}

/// Returns a time as [`parse_time`] reads it.
pub(super) fn format_time(time: Time) -> String {
    let (sign, seconds, nanoseconds) = match (time.seconds, time.nanoseconds) {
        (seconds, nanoseconds) if seconds < 0 && nanoseconds > 0 => {
            ("-", -(seconds + 1), 1_000_000_000 - nanoseconds)
        }
        (seconds, nanoseconds) if seconds < 0 => ("-", -seconds, nanoseconds),
        (seconds, nanoseconds) => ("", seconds, nanoseconds),
    };
    let text = format!("{sign}{seconds}.{nanoseconds:09}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Appends a record; its length counts its own digits.
pub(super) fn append(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(length.to_string().as_bytes());
    records.push(b' ');
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_round_trip_at_every_length() {
        for length in 0..1200 {
            let value = vec![b'v'; length];
            let mut bytes = Vec::new();
            append(&mut bytes, b"path", &value);
            append(&mut bytes, b"SCHILY.xattr.user.k", b"\0\n=");
            append(&mut bytes, b"SCHILY.xattr.user.empty", b"");
            append(&mut bytes, b"uid", b"");
            let mut records = Records::default();
            records.add(&bytes).unwrap();
            assert_eq!(records.path, Some(value).filter(|value| !value.is_empty()));
            assert_eq!(records.uid, None);
            assert_eq!(records.xattrs[&b"user.empty"[..]], b"");
            assert_eq!(records.xattrs[&b"user.k"[..]], b"\0\n=");
        }
    }

    #[test]
    fn damaged_records_are_refused() {
        for bad in [
            &b"x"[..],
            b"5 a=b",
            b"99 a=b\n",
            b"6 a=b\n\n ",
            b"0 \n",
            b"3 \n",
            b"7 abcd\n",
            b" a=b\n",
            b"-1 a=b\n",
        ] {
            assert!(Records::default().add(bad).is_err(), "{:?}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn times_round_trip() {
        for (text, seconds, nanoseconds) in [
            ("0", 0, 0),
            ("1700000000.123456789", 1_700_000_000, 123_456_789),
            ("1.5", 1, 500_000_000),
            ("-1", -1, 0),
            ("-0.25", -1, 750_000_000),
            ("-3.000000001", -4, 999_999_999),
        ] {
            let time = Time { seconds, nanoseconds };
            assert_eq!(parse_time(text.as_bytes()).unwrap(), time, "{text}");
            assert_eq!(format_time(time), text);
        }
        assert_eq!(parse_time(b"1.1234567899").unwrap().nanoseconds, 123_456_789);
        for bad in ["", ".", "1.x", "a", "1.-1", "9999999999999999999999"] {
            assert!(parse_time(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
