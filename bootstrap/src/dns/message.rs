//! As much of DNS messages as a forwarder needs (pure): RFC 1035, section 4.1.

/// The size of the header.
const HEADER_BYTES: usize = 12;
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

    /// Returns the answer that the question could not be answered.
    pub(crate) fn failure(&self) -> Vec<u8> {
        let mut answer = self.message[..self.question_end].to_vec();
        answer[2] = RESPONSE | (answer[2] & (OPCODE | RECURSION_DESIRED));
        answer[3] = RECURSION_AVAILABLE | SERVER_FAILURE;
        // One question, nothing else.
        answer[6..HEADER_BYTES].fill(0);
        answer
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

    #[test]
    fn failures() {
        let answer = Query::parse(QUERY).unwrap().failure();
        assert_eq!(answer, b"\x12\x34\x81\x82\0\x01\0\0\0\0\0\0\x01a\x02bc\0\0\x01\0\x01");
        assert!(is_failure(&answer) && is_failure(b"\0\0\x81\x85") && is_failure(b""));
        assert!(!is_failure(b"\0\0\x81\x80") && !is_failure(b"\0\0\x81\x83"));
    }
}
