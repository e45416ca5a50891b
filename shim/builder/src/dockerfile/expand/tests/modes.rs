//! Words, heredocs, step names, the other escape character, and the words of a line without variables.

use super::super::*;
use super::{expander, value};

#[test]
fn words_are_split_after_expansion() {
    let rows: &[(&str, &[&str])] = &[
        ("$A", &["alpha"]),
        ("", &[]),
        ("  a  b ", &["a", "b"]),
        ("a\tb", &["a", "b"]),
        ("a\u{a0}b", &["a", "b"]),
        ("\"a b\" c", &["a b", "c"]),
        ("'a b'c", &["a bc"]),
        ("a'b c'd", &["ab cd"]),
        ("a\\ b c", &["a b", "c"]),
        ("a \\", &["a"]),
        ("$B", &["two", "words"]),
        ("\"$B\"", &["two words"]),
        ("'$B'", &["$B"]),
        ("x$B$B", &["xtwo", "wordstwo", "words"]),
        ("$L", &["l1", "l2"]),
        ("$Q", &["say", "\"hi\""]),
        ("$U", &[]),
        ("$U a", &["a"]),
        ("a$E b", &["a", "b"]),
        ("\"\" '' \"$E\"", &[]),
        ("${U:-a b}", &["a", "b"]),
        ("${U:-\"a b\"}", &["a", "b"]),
        ("\"${U:-a b}\"", &["a b"]),
        ("$A/tcp $A/udp", &["alpha/tcp", "alpha/udp"]),
        ("80${U:-80} 1", &["80", "1"]),
        ("a b\"c${A#x}d\"e", &["a", "calphade"]),
        ("x${A}y", &["xalphay"]),
        ("<< a", &["<< a"]),
        ("<a < b", &["<a", "<", "b"]),
    ];
    for (text, expected) in rows {
        let actual = expander().words(text).map(|expanded| expanded.value);
        assert_eq!(actual.expect("the rows are valid"), *expected, "{text}");
    }
    assert_eq!(expander().words("a 'b"), Err(ExpandError::UnclosedQuote { quote: '\'' }));
}

#[test]
fn quotes_are_ordinary_in_a_body() {
    let rows: &[(&str, &str)] = &[
        ("$A", "alpha"),
        ("\"$A\" '$A'", "\"alpha\" 'alpha'"),
        ("it's $B", "it's two words"),
        ("\\$A", "$A"),
        ("\\\\$A", "\\alpha"),
        ("\\a\\\"", "a\""),
        ("line\n$A\n", "line\nalpha\n"),
        ("end\\\n", "end\n"),
        ("end\\", "end"),
        ("${U:-\"x\"}", "\"x\""),
        ("${U:-'}", "'"),
        ("${R//a/\"}", "b\"n\"n\""),
        ("cat <<EOF $U.", "cat <<EOF ."),
    ];
    for (text, expected) in rows {
        let actual = expander().body(text).map(|expanded| expanded.value);
        assert_eq!(actual.as_deref(), Ok(*expected), "{text}");
    }
    // Whatever the file says, a body has backslashes.
    let backtick = Expander::new(Escape::Backtick, &value);
    assert_eq!(backtick.body("`$A\\$A").map(|expanded| expanded.value).as_deref(), Ok("`alpha$A"));
}

#[test]
fn a_step_name_keeps_what_it_can() {
    let rows: &[(&str, &str)] = &[
        ("RUN echo $A", "RUN echo alpha"),
        ("RUN echo $U ${U}", "RUN echo $U ${U}"),
        ("RUN echo \"$A\" '$A'", "RUN echo \"alpha\" '$A'"),
        (r#"RUN echo \$A "\$A" "\x" a\ b '\$A'"#, r#"RUN echo $A "$A" "\x" a b '\$A'"#),
        ("RUN ${A:-x} ${U:-$A y}", "RUN alpha ${U:-alpha y}"),
        ("RUN ${U#x} ${U%%x} ${U+x} ${U:?x}", "RUN ${U#x} ${U%%x} ${U+x} ${U:?x}"),
        ("RUN ${U/a/b} ${U//a/b}", "RUN ${U/a/b} ${U//a/b}"),
        ("RUN echo $(ls) $$", "RUN echo $(ls) $$"),
        ("RUN $A \"unclosed", "RUN $A \"unclosed"),
        ("RUN $A ${", "RUN $A ${"),
    ];
    for (text, expected) in rows {
        assert_eq!(expander().display(text), *expected, "{text}");
    }
}

#[test]
fn the_escape_character_can_be_a_backtick() {
    let rows: &[(&str, &str)] = &[
        ("$A", "alpha"),
        ("`$A", "$A"),
        ("\"`$A\"", "$A"),
        ("\"`a\" '`'", "`a `"),
        ("a` b`", "a b"),
        (r"c:\$A", r"c:\alpha"),
        (r"a\", r"a\"),
        ("${U:-`}}", "}"),
        // Patterns know the backslash alone.
        (r"${S#*\?}", "c"),
        ("${P#*`/}", "/usr/local/lib/libm.so.6"),
    ];
    let expander = Expander::new(Escape::Backtick, &value);
    for (text, expected) in rows {
        let actual = expander.word(text).map(|expanded| expanded.value);
        assert_eq!(actual.as_deref(), Ok(*expected), "{text}");
    }
}

#[test]
fn a_line_is_split_without_variables() {
    let text = r#"a "b $c"\ d << 'E F' ${x:-y z}"#;
    let rows: &[(Words, &[&str])] = &[
        (Words::Unquoted, &["a", "b $c d", "<< E F", "${x:-y", "z}"]),
        (Words::Quoted, &["a", "\"b $c\" d", "<< 'E F'", "${x:-y", "z}"]),
        (Words::Verbatim, &["a", r#""b $c"\ d"#, "<< 'E F'", "${x:-y", "z}"]),
    ];
    for (words, expected) in rows {
        assert_eq!(lex_words(text, *words).expect("the row is valid"), *expected, "{words:?}");
    }
}
