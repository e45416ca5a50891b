mod modes;
mod word;

use super::*;

const VARIABLES: [(&str, &str); 12] = [
    ("A", "alpha"),
    ("B", "two words"),
    ("E", ""),
    ("P", "/usr/local/lib/libm.so.6"),
    ("R", "banana"),
    ("S", "a*b?c"),
    ("D", "/etc"),
    ("Q", "say \"hi\""),
    ("N", "é1é2"),
    ("L", "l1\nl2"),
    ("BS", r"c:\d"),
    ("_x9", "under"),
];

fn value(name: &str) -> Option<&'static str> {
    VARIABLES.iter().find(|(variable, _)| *variable == name).map(|(_, value)| *value)
}

fn expander() -> Expander<'static> {
    Expander::new(Escape::Backslash, &value)
}

#[test]
fn faults_are_named() {
    let operator = |operator: &str| ExpandError::UnknownOperator { operator: operator.to_owned() };
    let quote = |quote| ExpandError::UnclosedQuote { quote };
    let pattern = |pattern: &str| ExpandError::BadPattern { pattern: pattern.to_owned() };
    let demanded = |name: &str, message: &str| ExpandError::Demanded {
        name: name.to_owned(),
        message: message.to_owned(),
    };
    let rows: Vec<(&str, ExpandError)> = vec![
        ("${", ExpandError::MissingBrace),
        ("${A", ExpandError::MissingBrace),
        ("${A:", ExpandError::MissingBrace),
        ("${A:-", ExpandError::MissingBrace),
        ("x ${A:-x", ExpandError::MissingBrace),
        ("${A:-${U}", ExpandError::MissingBrace),
        ("${A#x", ExpandError::MissingBrace),
        (r"${A%\}", ExpandError::MissingBrace),
        ("${A/x/y", ExpandError::MissingBrace),
        ("${A/", ExpandError::MissingSlash),
        ("${A/x", ExpandError::MissingSlash),
        ("${A//x", ExpandError::MissingSlash),
        ("${}", ExpandError::MissingName),
        ("${{A}}", ExpandError::MissingName),
        ("${:-x}", ExpandError::MissingName),
        ("${A=x}", operator("=")),
        ("${A:=x}", operator(":=")),
        ("${A^}", operator("^")),
        ("${A x}", operator(" ")),
        ("${A:#x}", operator(":#")),
        ("${A:%x}", operator(":%")),
        ("${!A}", operator("A")),
        ("${$A}", operator("A")),
        ("\"a", quote('"')),
        ("'a", quote('\'')),
        ("'$A\\'' b", quote('\'')),
        ("${A:-\"x}", quote('"')),
        (r"${A#\x}", pattern(r"\x")),
        (r"${A/\$/x}", pattern(r"\$")),
        (r#"${A/"\$"/x}"#, pattern(r"\$")),
        ("${U?}", demanded("U", "is not set")),
        ("${U:?}", demanded("U", "is not set")),
        ("${E:?}", demanded("E", "is empty")),
        ("${U?no value}", demanded("U", "no value")),
        ("${E:?$A $D}", demanded("E", "alpha /etc")),
    ];
    for (text, expected) in rows {
        assert_eq!(expander().word(text), Err(expected), "{text}");
    }
}

#[test]
fn variables_are_noted_whether_needed_or_not() {
    let rows: &[(&str, &[&str], &[&str])] = &[
        ("plain", &[], &[]),
        ("$A ${A} $U", &["A"], &["U"]),
        ("'$A' \\$U", &[], &[]),
        ("${U:-$A}", &["A"], &["U"]),
        ("${A:-$U}", &["A"], &["U"]),
        ("${A:+$X}${E-$Y}", &["A", "E"], &["X", "Y"]),
        ("${A#$U}${R/$X/$Y}", &["A", "R"], &["U", "X", "Y"]),
        ("\"${U:-'$X'}\"", &[], &["U"]),
        ("$1 $@", &[], &["1", "@"]),
    ];
    for (text, used, unset) in rows {
        let expanded = expander().word(text).expect("the rows are valid");
        assert_eq!(expanded.used.iter().collect::<Vec<_>>(), *used, "{text}");
        assert_eq!(expanded.unset.iter().collect::<Vec<_>>(), *unset, "{text}");
    }
}

fn nested(depth: u32) -> String {
    (0..depth).fold("x".to_owned(), |inner, _| format!("${{U:-{inner}}}"))
}

#[test]
fn nesting_is_limited() {
    let expanded = expander().word(&nested(MAX_DEPTH)).map(|expanded| expanded.value);
    assert_eq!(expanded.as_deref(), Ok("x"));
    assert_eq!(expander().word(&nested(MAX_DEPTH + 1)), Err(ExpandError::TooDeep));
    let side_by_side = "${U:-x}".repeat(100);
    let expanded = expander().word(&side_by_side).map(|expanded| expanded.value);
    assert_eq!(expanded, Ok("x".repeat(100)));
}

#[test]
fn results_are_limited() {
    let half = "h".repeat(MAX_EXPANDED_BYTES / 2);
    let values = |name: &str| (name == "H").then_some(half.as_str());
    let expander = Expander::new(Escape::Backslash, &values);
    assert_eq!(expander.word("$H$H").map(|expanded| expanded.value.len()), Ok(MAX_EXPANDED_BYTES));
    for text in ["$H${H}x", "\"$H$H$H\"", "${U:-$H$H$H}", "${H//h/xyz}", "${H/h/$H}${H/h/$H}"] {
        assert_eq!(expander.word(text), Err(ExpandError::TooLarge), "{text}");
    }
    assert_eq!(expander.body("$H$H$H"), Err(ExpandError::TooLarge));
    assert_eq!(expander.display("RUN $H$H$H"), "RUN $H$H$H");
}

#[test]
fn patterns_are_limited() {
    let with = |length: usize| expander().word(&format!("${{R#{}}}", "?".repeat(length)));
    assert_eq!(with(MAX_PATTERN_CHARS).map(|expanded| expanded.value).as_deref(), Ok("banana"));
    assert_eq!(with(MAX_PATTERN_CHARS + 1), Err(ExpandError::PatternTooLong));
}
