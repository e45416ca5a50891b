//! Nothing that is in a file makes the parser panic, and every place that it names is in the file.

use super::super::expand::Expander;
use super::super::*;
use super::golden::{cases, read};

/// Mutations of each file.
const MUTATIONS: usize = 400;

/// Bytes that mean something to the parser, and some that mean nothing anywhere.
const BYTES: &[u8] = b"\\`\"'$#<>[]{}=-,: \t\r\n\0\xc3\xa9\xff\xe2Aa0*?!|";

/// A sequence of numbers that is the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let number = usize::try_from(self.0 >> 33).expect("31 bits");
        number % limit.max(1)
    }
}

fn try_everything(text: &[u8]) {
    let lines = text.split_inclusive(|byte| *byte == b'\n').count().max(1);
    let check = |location: Location| {
        let Location { first_line, last_line } = location;
        let last = usize::try_from(last_line).expect("32 bits");
        assert!(0 < first_line && first_line <= last_line && last <= lines, "{location:?} of {lines} lines");
    };
    let dockerfile = match parse(text) {
        Ok(dockerfile) => dockerfile,
        Err(error) => return check(error.location),
    };
    for unsupported in unsupported(&dockerfile) {
        check(unsupported.location);
    }
    let values = |name: &str| (name.len() % 2 == 1).then_some("va lue/with*things");
    let expander = Expander::new(dockerfile.escape, &values);
    for stage in &dockerfile.stages {
        check(stage.location);
        for located in &stage.instructions {
            check(located.location);
            let words = expander.words(&located.source);
            let word = expander.word(&located.source);
            assert_eq!(words.is_ok(), word.is_ok(), "{}", located.source);
            assert!(!expander.display(&located.source).is_empty());
            assert!(expander.body(&located.source).is_ok() || located.source.contains('$'));
        }
    }
}

fn mutated(text: &[u8], numbers: &mut Numbers) -> Vec<u8> {
    let mut text = text.to_vec();
    for _ in 0..=numbers.below(3) {
        let start = numbers.below(text.len() + 1);
        let end = (start + numbers.below(8)).min(text.len());
        match numbers.below(4) {
            0 => text.insert(start, BYTES[numbers.below(BYTES.len())]),
            1 => drop(text.drain(start..end)),
            2 => {
                let piece = text[start..end].to_vec();
                let place = numbers.below(text.len() + 1);
                text.splice(place..place, piece);
            }
            _ => {
                if let Some(byte) = text.get_mut(start) {
                    *byte = BYTES[numbers.below(BYTES.len())];
                }
            }
        }
    }
    text
}

#[test]
fn cut_files_do_not_panic() {
    for case in [cases("good"), cases("bad")].concat() {
        let text = read(&case, "Dockerfile");
        for end in 0..text.len() {
            try_everything(&text[..end]);
            try_everything(&text[end..]);
        }
    }
}

#[test]
fn mutated_files_do_not_panic() {
    let mut numbers = Numbers(1);
    for case in [cases("good"), cases("bad")].concat() {
        let text = read(&case, "Dockerfile");
        for _ in 0..MUTATIONS {
            try_everything(&mutated(&text, &mut numbers));
        }
    }
}
