//! Answers to requests for a part of a blob (RFC 9110, section 14). Pure.

use reqwest::StatusCode;
use reqwest::header::{CONTENT_RANGE, HeaderMap};

/// Returns how many bytes at the start of an answer are not wanted: none, or all before the offset where the server
/// sent the blob whole.
///
/// # Errors
/// A sentence, if the answer is for another part, or for a blob of another size.
pub(super) fn bytes_to_skip(
    status: StatusCode,
    headers: &HeaderMap,
    content_length: Option<u64>,
    (offset, size_bytes): (u64, u64),
) -> Result<u64, String> {
    match status {
        StatusCode::OK => match content_length.filter(|length| *length != size_bytes) {
            Some(length) => Err(format!("it has {length} bytes, and the manifest says {size_bytes}")),
            None => Ok(offset),
        },
        StatusCode::PARTIAL_CONTENT => {
            let text = headers.get(CONTENT_RANGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
            let wrong = || format!("it was asked for bytes from {offset} on, and answered with {text:?}");
            let (start, total) = parse(text).ok_or_else(wrong)?;
            if start != offset {
                return Err(wrong());
            }
            match total.filter(|total| *total != size_bytes) {
                Some(total) => Err(format!("it has {total} bytes, and the manifest says {size_bytes}")),
                None => Ok(0),
            }
        }
        status => Err(format!("it answered a request for a blob with {status}")),
    }
}

/// Reads `bytes START-END/TOTAL`; the total may be unknown.
fn parse(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (start, end) = range.trim().split_once('-')?;
    let (start, end): (u64, u64) = (start.parse().ok()?, end.parse().ok()?);
    let total = if total == "*" { None } else { Some(total.parse().ok()?) };
    (start <= end && total.is_none_or(|total| end < total)).then_some((start, total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_matched_to_the_question() {
        for (status, content_range, content_length, offset, expected) in [
            (200, None, Some(100), 0, Ok(0)),
            (200, None, None, 0, Ok(0)),
            (200, None, Some(100), 40, Ok(40)),
            (206, Some("bytes 40-99/100"), Some(60), 40, Ok(0)),
            (206, Some("bytes 40-59/100"), Some(20), 40, Ok(0)),
            (206, Some("bytes 40-99/*"), None, 40, Ok(0)),
            (200, None, Some(99), 0, Err("it has 99 bytes, and the manifest says 100")),
            (200, None, Some(60), 40, Err("it has 60 bytes, and the manifest says 100")),
            (206, Some("bytes 40-100/101"), None, 40, Err("it has 101 bytes, and the manifest says 100")),
            (
                206,
                Some("bytes 0-99/100"),
                None,
                40,
                Err("it was asked for bytes from 40 on, and answered with \"bytes 0-99/100\""),
            ),
            (206, None, None, 40, Err("it was asked for bytes from 40 on, and answered with \"\"")),
            (204, None, None, 0, Err("it answered a request for a blob with 204 No Content")),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(text) = content_range {
                headers.insert(CONTENT_RANGE, text.parse().unwrap());
            }
            let status = StatusCode::from_u16(status).unwrap();
            let found = bytes_to_skip(status, &headers, content_length, (offset, 100));
            assert_eq!(found, expected.map_err(str::to_owned), "{status} {content_range:?}");
        }
    }

    #[test]
    fn ranges_that_make_no_sense_are_refused() {
        for text in [
            "",
            "bytes",
            "bytes */100",
            "bytes 5-4/100",
            "bytes 0-100/100",
            "bytes -5/100",
            "bytes 0-5",
            "items 0-5/9",
            "bytes 0-99999999999999999999/*",
            "bytes a-b/c",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
