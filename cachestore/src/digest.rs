//! Digests, and readers and writers that compute them.

use std::fmt;
use std::io::{self, Read, Write};
use std::str::FromStr;

use sha2::Digest as _;

use crate::error::{Error, Result};

/// A SHA-256 digest in the form of the OCI image specification: `sha256:` and 64 hexadecimal digits.
///
/// Other algorithms of the specification are refused where they are parsed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

const PREFIX: &str = "sha256:";

impl Digest {
    /// Returns the digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let mut digester = Digester::new();
        digester.update(bytes);
        digester.finish()
    }

    /// Parses 64 lower-case hexadecimal digits.
    ///
    /// # Errors
    /// [`Error::Invalid`] for anything else.
    pub fn from_hex(hex: &str) -> Result<Self> {
        let problem = || Error::invalid("digest", hex, "expected 64 lower-case hexadecimal digits");
        let digits = hex.as_bytes();
        if digits.len() != 64 {
            return Err(problem());
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = (nibble(pair[0]).ok_or_else(problem)? << 4) | nibble(pair[1]).ok_or_else(problem)?;
        }
        Ok(Self(bytes))
    }

    /// The smallest digest, for ranges.
    pub(crate) const MIN: Self = Self([0; 32]);

    /// Returns the smallest digest whose hexadecimal form starts with these digits.
    pub(crate) fn first_with_prefix(hex: &str) -> Option<Self> {
        Self::from_hex(&format!("{hex:0<64}")).ok()
    }

    /// Returns the 64 hexadecimal digits.
    pub fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Returns the first 12 hexadecimal digits, as docker shows image IDs.
    pub fn short(&self) -> String {
        self.hex()[..12].to_owned()
    }

    /// Makes a digest of its bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the bytes of the digest.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PREFIX)?;
        f.write_str(&self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.strip_prefix(PREFIX) {
            Some(hex) => Self::from_hex(hex),
            None => Err(Error::invalid("digest", text, "expected sha256:HEX, the one supported algorithm")),
        }
    }
}

impl serde::Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl rusqlite::ToSql for Digest {
    fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
        Ok(self.to_string().into())
    }
}

impl rusqlite::types::FromSql for Digest {
    fn column_result(value: rusqlite::types::ValueRef<'_>) -> rusqlite::types::FromSqlResult<Self> {
        value.as_str()?.parse().map_err(rusqlite::types::FromSqlError::other)
    }
}

/// Computes a SHA-256 digest piece by piece.
///
/// The one place that chooses an implementation: `sha2` where the processor has SHA instructions, and `ring`, whose
/// vector code is twice as fast as sha2's portable one, where it has none.
#[derive(Clone)]
pub struct Digester(Implementation);

#[derive(Clone)]
enum Implementation {
    Instructions(sha2::Sha256),
    Vector(ring::digest::Context),
}

impl Digester {
    /// Starts a digest of no bytes.
    pub fn new() -> Self {
        Self(if has_sha_instructions() {
            Implementation::Instructions(sha2::Sha256::new())
        } else {
            Implementation::Vector(ring::digest::Context::new(&ring::digest::SHA256))
        })
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            Implementation::Instructions(hash) => hash.update(bytes),
            Implementation::Vector(context) => context.update(bytes),
        }
    }

    /// Returns the digest of all bytes added.
    pub fn finish(self) -> Digest {
        let mut bytes = [0; 32];
        match self.0 {
            Implementation::Instructions(hash) => bytes.copy_from_slice(&hash.finalize()),
            Implementation::Vector(context) => bytes.copy_from_slice(context.finish().as_ref()),
        }
        Digest(bytes)
    }
}

impl Default for Digester {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Digester {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digester")
    }
}

fn has_sha_instructions() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("sha");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("sha2");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    return false;
}

/// Passes bytes through and computes the digest and the number of those that passed.
#[derive(Debug)]
pub struct Hashed<T> {
    inner: T,
    digester: Digester,
    length: u64,
}

impl<T> Hashed<T> {
    /// Wraps a reader or a writer.
    pub fn new(inner: T) -> Self {
        Self { inner, digester: Digester::new(), length: 0 }
    }

    /// Returns what was wrapped, the digest and the number of bytes that passed.
    pub fn finish(self) -> (T, Digest, u64) {
        (self.inner, self.digester.finish(), self.length)
    }

    /// Returns how many bytes have passed.
    pub fn length(&self) -> u64 {
        self.length
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.digester.update(&buffer[..count]);
        self.length += count as u64;
        Ok(count)
    }
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.digester.update(&bytes[..count]);
        self.length += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn both_implementations_agree_with_the_standard() {
        assert_eq!(Digest::of(b"").to_string(), EMPTY);
        let mut vector = Digester(Implementation::Vector(ring::digest::Context::new(&ring::digest::SHA256)));
        let mut plain = Digester(Implementation::Instructions(sha2::Sha256::new()));
        for piece in [&b"a"[..], &[7; 1000], b"", &[0; 64]] {
            vector.update(piece);
            plain.update(piece);
        }
        assert_eq!(vector.finish(), plain.finish());
    }

    #[test]
    fn text_form_round_trips_and_anything_else_is_refused() {
        assert_eq!(EMPTY.parse::<Digest>().unwrap().to_string(), EMPTY);
        let hex = &EMPTY[7..];
        for bad in [
            hex,
            "sha256:",
            "sha512:00",
            &EMPTY[..70],
            &format!("{EMPTY}0"),
            &EMPTY.to_uppercase(),
            "sha256:é",
        ] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }

    #[test]
    fn hashed_counts_and_digests_what_passed() {
        let mut reader = Hashed::new(&b"hello"[..]);
        io::copy(&mut reader, &mut io::sink()).unwrap();
        let (_, digest, length) = reader.finish();
        assert_eq!((digest, length), (Digest::of(b"hello"), 5));
    }
}
