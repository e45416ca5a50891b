//! As much of DNS messages as a forwarder needs (pure): RFC 1035, section 4.1.

use std::net::Ipv4Addr;

/// The size of the header.
const HEADER_BYTES: usize = 12;
/// Of the question, behind its name: type and class, two bytes each.
const TYPE_AND_CLASS_BYTES: usize = 4;
const TYPE_A: u16 = 1;
const TYPE_ANY: u16 = 255;
const CLASS_INTERNET: u16 = 1;
const CLASS_ANY: u16 = 255;
/// A pointer to the name of the question (RFC 1035, section 4.1.4).
const POINTER: [u8; 2] = [0xc0, 12];
const RESPONSE: u8 = 0x80;
const RECURSION_DESIRED: u8 = 0x01;
const RECURSION_AVAILABLE: u8 = 0x80;
const OPCODE: u8 = 0x78;
const RCODE: u8 = 0x0f;
const SERVER_FAILURE: u8 = 2;
const NOT_IMPLEMENTED: u8 = 4;
const REFUSED: u8 = 5;

/// A question that can be forwarded: one query with one question.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Query<'a> {
    message: &'a [u8],
    question_end: usize,
}

impl<'a> Query<'a> {
    /// Reads a message; `None` for what is no question and gets no answer.
    pub(crate) fn parse(message: &'a [u8]) -> Option<Self> {
        let header = message.get(..HEADER_BYTES)?;
        let is_one_question = header[4..6] == [0, 1];
        if header[2] & RESPONSE != 0 || !is_one_question {
            return None;
        }
        let mut end = HEADER_BYTES;
        loop {
            match usize::from(*message.get(end)?) {
                0 => break,
                // Pointers have nothing to point to in the first name of a message.
                length if length < 64 => end += 1 + length,
                _ => return None,
            }
        }
        // The end of the name, type and class.
        let question_end = end + 5;
        (question_end <= message.len()).then_some(Self { message, question_end })
    }

    pub(crate) const fn bytes(&self) -> &'a [u8] {
        self.message
    }

    /// Tells whether a message answers this question: anybody may send to a port.
    pub(crate) fn is_answered_by(&self, answer: &[u8]) -> bool {
        let question = HEADER_BYTES..self.question_end;
        answer.len() >= HEADER_BYTES
            && answer[..2] == self.message[..2]
            && answer[2] & RESPONSE != 0
            // Servers that refuse may leave the question out.
            && (answer[4..6] == [0, 0]
                || answer.get(question.clone()).is_some_and(|q| q.eq_ignore_ascii_case(&self.message[question])))
    }

    /// Returns the name that is asked about, with small letters and dots; `None` if a standard query of the internet's names it is not.
    pub(crate) fn name(&self) -> Option<String> {
        let is_standard = self.message[2] & OPCODE == 0;
        if !is_standard || !matches!(self.word(2), CLASS_INTERNET | CLASS_ANY) {
            return None;
        }
        let mut labels = Vec::new();
        let mut rest = &self.message[HEADER_BYTES..self.question_end - TYPE_AND_CLASS_BYTES];
        while let Some((length, tail)) = rest.split_first().filter(|(length, _)| **length != 0) {
            let (label, next) = tail.split_at_checked(usize::from(*length))?;
            // A dot within a label is not one between two.
            labels.push(
                std::str::from_utf8(label).ok().filter(|label| !label.contains('.'))?.to_ascii_lowercase(),
            );
            rest = next;
        }
        Some(labels.join("."))
    }

    /// Returns the answer that the name has this address and no other; `seconds` is how long that may be remembered.
    pub(crate) fn answer(&self, address: Ipv4Addr, seconds: u32) -> Vec<u8> {
        let mut answer = self.head(0);
        if matches!(self.word(0), TYPE_A | TYPE_ANY) {
            answer[7] = 1;
            answer.extend(POINTER);
            for word in [TYPE_A, CLASS_INTERNET] {
                answer.extend(word.to_be_bytes());
            }
            answer.extend(seconds.to_be_bytes());
            answer.extend([0, 4]);
            answer.extend(address.octets());
        }
        answer
    }

    /// Returns the answer that the question could not be answered.
    pub(crate) fn failure(&self) -> Vec<u8> {
        self.head(SERVER_FAILURE)
    }

    /// Returns an answer with the question and nothing else.
    fn head(&self, rcode: u8) -> Vec<u8> {
        let mut answer = self.message[..self.question_end].to_vec();
        answer[2] = RESPONSE | (answer[2] & (OPCODE | RECURSION_DESIRED));
        answer[3] = RECURSION_AVAILABLE | rcode;
        // One question, no records.
        answer[6..HEADER_BYTES].fill(0);
        answer
    }

    /// Reads two bytes behind the question's name.
    fn word(&self, at: usize) -> u16 {
        let from = self.question_end - TYPE_AND_CLASS_BYTES + at;
        u16::from_be_bytes([self.message[from], self.message[from + 1]])
    }
}

/// Tells whether another server may know better.
pub(crate) fn is_failure(answer: &[u8]) -> bool {
    answer.get(3).is_none_or(|flags| matches!(flags & RCODE, SERVER_FAILURE | NOT_IMPLEMENTED | REFUSED))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asks for the address of `a.bc`, with an additional record.
    const QUERY: &[u8] =
        b"\x12\x34\x01\x20\0\x01\0\0\0\0\0\x01\x01a\x02bc\0\0\x01\0\x01\0\0\x29\x10\0\0\0\0\0\0\0";

    #[test]
    fn questions() {
        assert!(Query::parse(QUERY).is_some());
        let changed = |at: usize, byte: u8| {
            let mut message = QUERY.to_vec();
            message[at] = byte;
            message
        };
        for (message, what) in [
            (changed(2, 0x81), "an answer"),
            (changed(5, 2), "two questions"),
            (changed(5, 0), "no question"),
            (changed(12, 0xc0), "a pointer"),
            (changed(12, 63), "a name that leaves the message"),
            (QUERY[..20].to_vec(), "no class"),
            (QUERY[..11].to_vec(), "half a header"),
            (Vec::new(), "nothing"),
        ] {
            assert!(Query::parse(&message).is_none(), "{what}");
        }
    }

    #[test]
    fn answers() {
        let query = Query::parse(QUERY).unwrap();
        let mut answer = QUERY.to_vec();
        answer[2] |= 0x80;
        let changed = |at: usize, byte: u8| {
            let mut answer = answer.clone();
            answer[at] = byte;
            answer
        };
        for (message, expected) in [
            (answer.clone(), true),
            (changed(13, b'A'), true),
            (changed(13, b'x'), false),
            (changed(0, 0), false),
            (QUERY.to_vec(), false),
            (answer[..11].to_vec(), false),
            (answer[..14].to_vec(), false),
            (b"\x12\x34\x81\x85\0\0\0\0\0\0\0\0".to_vec(), true),
        ] {
            assert_eq!(query.is_answered_by(&message), expected, "{message:?}");
        }
    }

    /// Asks for something of `HOST.docker.Internal`.
    fn asking(kind: u8, class: u8, opcode: u8) -> Vec<u8> {
        let mut message = b"\x12\x34\x01\x20\0\x01\0\0\0\0\0\x01\x04HOST\x06docker\x08Internal\0".to_vec();
        message[2] |= opcode << 3;
        message.extend([0, kind, 0, class]);
        message.extend(b"\0\0\x29\x10\0\0\0\0\0\0\0");
        message
    }

    #[test]
    fn names() {
        let name = |message: &[u8]| Query::parse(message).unwrap().name();
        assert_eq!(name(&asking(1, 1, 0)).as_deref(), Some("host.docker.internal"));
        assert_eq!(name(&asking(28, 255, 0)).as_deref(), Some("host.docker.internal"));
        assert_eq!(name(QUERY).as_deref(), Some("a.bc"));
        assert_eq!(name(b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\0\0\x02\0\x01").as_deref(), Some(""));
        for (message, what) in [
            (asking(1, 3, 0), "another class"),
            (asking(1, 1, 5), "an update"),
            (b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03a.b\0\0\x01\0\x01".to_vec(), "a dot in a label"),
            (b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x01\xff\0\0\x01\0\x01".to_vec(), "no text"),
        ] {
            assert_eq!(name(&message), None, "{what}");
        }
    }

    #[test]
    fn own_answers() {
        let head = b"\x12\x34\x81\x80\0\x01\0\0\0\0\0\0\x04HOST\x06docker\x08Internal\0\0";
        let record = b"\xc0\x0c\0\x01\0\x01\0\0\0\x05\0\x04\xc0\xa8\x41\xfe";
        for (kind, count) in [(1, 1), (255, 1), (28, 0), (16, 0)] {
            let message = asking(kind, 1, 0);
            let query = Query::parse(&message).unwrap();
            let answer = query.answer(Ipv4Addr::new(192, 168, 65, 254), 5);
            let mut expected = head.to_vec();
            expected[7] = count;
            expected.extend([kind, 0, 1]);
            expected.extend(if count == 1 { &record[..] } else { &[] });
            assert_eq!(answer, expected, "{kind}");
            assert!(query.is_answered_by(&answer) && !is_failure(&answer));
        }
    }

    #[test]
    fn failures() {
        let answer = Query::parse(QUERY).unwrap().failure();
        assert_eq!(answer, b"\x12\x34\x81\x82\0\x01\0\0\0\0\0\0\x01a\x02bc\0\0\x01\0\x01");
        assert!(is_failure(&answer) && is_failure(b"\0\0\x81\x85") && is_failure(b""));
        assert!(!is_failure(b"\0\0\x81\x80") && !is_failure(b"\0\0\x81\x83"));
    }
}
