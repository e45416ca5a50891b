//! Changes of encoded protobuf messages that leave every other byte as it is (protobuf, "Encoding").
//!
//! A message may be changed by appending: of a scalar that occurs twice the last one counts, and two occurrences of an
//! embedded message are merged. Only elements of repeated fields have to be replaced where they are.

use bytes::Bytes;
use prost::DecodeError;
use prost::encoding::{decode_varint, encode_varint};

const VARINT: u64 = 0;
const FIXED_64: u64 = 1;
const LENGTH_DELIMITED: u64 = 2;
const FIXED_32: u64 = 5;

/// Appends a field that holds bytes, text or a message.
pub(super) fn append(message: &mut Vec<u8>, field: u32, content: &[u8]) {
    encode_varint(u64::from(field) << 3 | LENGTH_DELIMITED, message);
    encode_varint(content.len() as u64, message);
    message.extend_from_slice(content);
}

/// Returns a message that holds one field.
pub(super) fn message(field: u32, content: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(content.len() + 10);
    append(&mut message, field, content);
    message
}

/// Replaces the content of every occurrence of a length-delimited field.
pub(super) fn replace_each(
    bytes: &[u8],
    field: u32,
    mut replace: impl FnMut(&[u8]) -> Result<Vec<u8>, DecodeError>,
) -> Result<Vec<u8>, DecodeError> {
    let mut output = Vec::with_capacity(bytes.len() + 64);
    let mut rest = bytes;
    while !rest.is_empty() {
        let start = rest;
        let key = decode_varint(&mut rest)?;
        let content = skip(key & 7, &mut rest)?;
        match content {
            Some(content) if key >> 3 == u64::from(field) => append(&mut output, field, &replace(content)?),
            _ => output.extend_from_slice(&start[..start.len() - rest.len()]),
        }
    }
    Ok(output)
}

/// Moves behind a field's value; returns the value if it is length-delimited.
fn skip<'a>(wire_type: u64, rest: &mut &'a [u8]) -> Result<Option<&'a [u8]>, DecodeError> {
    match wire_type {
        VARINT => decode_varint(rest).map(|_| None),
        FIXED_64 => take(rest, 8).map(|_| None),
        FIXED_32 => take(rest, 4).map(|_| None),
        LENGTH_DELIMITED => {
            let length = decode_varint(rest)?;
            take(rest, usize::try_from(length).unwrap_or(usize::MAX)).map(Some)
        }
        _ => Err(truncated()),
    }
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], DecodeError> {
    let (value, behind) = rest.split_at_checked(length).ok_or_else(truncated)?;
    *rest = behind;
    Ok(value)
}

/// prost makes its errors itself only; this is the one that it has for a value that ends early.
fn truncated() -> DecodeError {
    decode_varint(&mut Bytes::new()).expect_err("there is no number in no bytes")
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use proto::cri;

    use super::*;

    #[test]
    fn what_is_appended_is_merged() {
        let request = cri::RunPodSandboxRequest {
            config: Some(cri::PodSandboxConfig { linux: Some(cri::LinuxPodSandboxConfig::default()) }),
        };
        let mut bytes = message(99, b"unknown");
        bytes.extend(request.encode_to_vec());
        append(&mut bytes, 1, &message(8, &message(1, b"/parent")));
        let merged = cri::RunPodSandboxRequest::decode(&bytes[..]).unwrap();
        assert_eq!(merged.config.unwrap().linux.unwrap().cgroup_parent, "/parent");
        assert!(bytes.starts_with(&message(99, b"unknown")));
    }

    #[test]
    fn elements_are_replaced_and_all_else_stays() {
        let mut bytes = vec![0x08, 0x96, 0x01];
        append(&mut bytes, 3, b"one");
        bytes.extend([0x29, 1, 2, 3, 4, 5, 6, 7, 8, 0x35, 1, 2, 3, 4]);
        append(&mut bytes, 3, b"two");
        append(&mut bytes, 7, b"other");
        let changed = replace_each(&bytes, 3, |content| Ok([content, b"!"].concat())).unwrap();
        let mut expected = vec![0x08, 0x96, 0x01];
        append(&mut expected, 3, b"one!");
        expected.extend([0x29, 1, 2, 3, 4, 5, 6, 7, 8, 0x35, 1, 2, 3, 4]);
        append(&mut expected, 3, b"two!");
        append(&mut expected, 7, b"other");
        assert_eq!(changed, expected);
    }

    #[test]
    fn damaged_messages_are_refused() {
        for bad in [
            &[0x1a][..],
            &[0x1a, 5, 1],
            &[0x80],
            &[0x0b],
            &[0x29, 1],
            &[0x1a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
        ] {
            assert!(replace_each(bad, 3, |content| Ok(content.to_vec())).is_err(), "{bad:?}");
        }
    }
}
