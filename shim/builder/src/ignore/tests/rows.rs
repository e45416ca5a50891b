//! One ignore file, one path: a row for each thing that a pattern can do.

use super::super::Ignore;

fn check(rows: &[(&str, &str, bool)]) {
    for (text, path, expected) in rows {
        let ignore = Ignore::parse(text.as_bytes()).expect("the rows are valid");
        assert_eq!(ignore.excludes_path(path.as_bytes()), *expected, "{text:?} {path}");
    }
}

#[test]
fn patterns_are_anchored_at_the_root() {
    check(&[
        ("foo", "foo", true),
        ("foo", "foo/a", true),
        ("foo", "foo/a/b", true),
        ("foo", "bar/foo", false),
        ("foo", "foobar", false),
        ("foo", "fo", false),
        ("/foo", "foo", true),
        ("/foo", "bar/foo", false),
        ("./foo", "foo", true),
        ("foo/", "foo", true),
        ("foo/", "foo/a", true),
        ("foo/bar", "foo", false),
        ("foo/bar", "foo/bar", true),
        ("foo/bar", "foo/bar/baz", true),
        ("foo/bar", "foo/barn", false),
        ("foo//bar", "foo/bar", true),
        ("foo/./bar", "foo/bar", true),
        ("foo/../bar", "bar", true),
        ("../foo", "foo", false),
        (".", "foo", false),
        ("/", "foo", false),
        ("..", "foo", false),
        ("FOO", "foo", false),
        ("foo bar", "foo bar", true),
    ]);
}

#[test]
fn a_star_stays_in_its_name() {
    check(&[
        ("*", "foo", true),
        ("*", "foo/a", true),
        ("*.log", "a.log", true),
        ("*.log", "a.log/b", true),
        ("*.log", "d/a.log", false),
        ("*.log", ".log", true),
        ("*.log", "a.logs", false),
        ("a*", "a", true),
        ("a*", "ab/c", true),
        ("*/foo", "foo", false),
        ("*/foo", "a/foo", true),
        ("*/foo", "a/b/foo", false),
        ("*/foo", "a/foo/b", true),
        ("a/*/c", "a/b/c", true),
        ("a/*/c", "a/b/b/c", false),
        ("a/*", "a", false),
        ("a*b", "a/b", false),
        ("a*b*c", "axbyc", true),
        ("?", "a", true),
        ("?", "ab", false),
        ("?", "é", true),
        ("??", "é", false),
        ("a?c", "a/c", false),
        ("*.*", "a", false),
        ("*.*", "a.", true),
    ]);
}

#[test]
fn two_stars_cross_names() {
    check(&[
        ("**", "foo", true),
        ("**", "a/b/c", true),
        ("**/foo", "foo", true),
        ("**/foo", "a/foo", true),
        ("**/foo", "a/b/foo", true),
        ("**/foo", "a/foo/b", true),
        ("**/foo", "a/xfoo", false),
        ("**foo", "xfoo", true),
        ("**foo", "a/xfoo", true),
        ("**foo*", "xfoo1", false),
        ("**foo*", "a/foo1", true),
        ("foo/**", "foo", false),
        ("foo/**", "foo/a", true),
        ("foo/**", "foo/a/b", true),
        ("foo/**", "foobar", false),
        ("foo**", "foobar/x", true),
        ("foo**", "foo", true),
        ("a/**/b", "a/b", true),
        ("a/**/b", "a/x/b", true),
        ("a/**/b", "a/x/y/b", true),
        ("a/**/b", "a/xb", false),
        ("a/**/b", "b", false),
        ("a**b", "ab", true),
        ("a**b", "axb", false),
        ("a**b", "a/b", true),
        ("a**b", "ax/b", true),
        ("**/*.go", "x.go", true),
        ("**/*.go", "a/b/x.go", true),
        ("**/*.go", "a/x.goo", false),
        ("**/a/**", "a", false),
        ("**/a/**", "a/b", true),
        ("**/a/**", "x/a/b", true),
        ("**/**/a", "x/y/a", true),
        ("a/**/**/b", "a/b", true),
        ("***", "a/b", true),
        ("**/?", "a/b", true),
        ("a/**/*", "a/b/c", true),
        ("a/**/*", "a", false),
    ]);
}

#[test]
fn a_set_is_one_character() {
    check(&[
        ("[ab]", "a", true),
        ("[ab]", "c", false),
        ("[ab]", "a/x", true),
        ("[a-c]x", "bx", true),
        ("[a-c]x", "dx", false),
        ("[^a]", "b", true),
        ("[^a]", "a", false),
        ("x[^a]b", "x/b", true),
        ("[!a]", "!", true),
        ("[!a]", "b", false),
        ("x[a-c]*", "xbyz", true),
        ("[é-ü]", "ö", true),
        (r"[\]]", "]", true),
        (r"[a\-c]", "-", true),
        (r"[a\-c]", "b", false),
        ("{a,b}", "a", false),
        ("{a,b}", "{a,b}", true),
    ]);
}

#[test]
fn a_backslash_protects() {
    check(&[
        (r"\*", "*", true),
        (r"\*", "a", false),
        (r"a\?", "a?", true),
        (r"a\?", "ab", false),
        (r"\[a]", "[a]", true),
        (r"\#a", "#a", true),
        (r"\!a", "!a", true),
        ("a.b", "axb", false),
        ("a.b", "a.b", true),
        ("a.?", "a.b", true),
        ("a.?", "axb", false),
        ("(a)+|$", "(a)+|$", true),
        ("*(a)", "x(a)", true),
        ("*$", "x$", true),
        ("a]", "a]", true),
        (r"\a", "a", true),
    ]);
}

#[test]
fn lines_are_trimmed_and_cleaned() {
    check(&[
        ("#foo", "#foo", false),
        (" #foo", "#foo", true),
        ("# foo\nfoo", "foo", true),
        ("\n\nfoo\n", "foo", true),
        ("  foo\t\r\n", "foo", true),
        ("\u{feff}foo", "foo", true),
        ("! foo", "foo", false),
        ("foo\n! foo", "foo", false),
        ("foo\n!/foo", "foo", false),
        ("foo\n!./foo/", "foo", false),
        ("/!foo\n", "!foo", false),
        ("foo\n/!foo", "foo", false),
    ]);
}

#[test]
fn exceptions_take_back_in() {
    check(&[
        ("*\n!foo", "foo", false),
        ("*\n!foo", "bar", true),
        ("*\n!foo", "foo/a", false),
        ("foo\n!foo/keep", "foo/keep", false),
        ("foo\n!foo/keep", "foo/drop", true),
        ("foo\n!foo/keep", "foo/keep/a", false),
        ("foo\n!foo/keep\nfoo/keep/b", "foo/keep/b", true),
        ("foo\n!foo/keep\nfoo/keep/b", "foo/keep/c", false),
        ("!foo\nfoo", "foo", true),
        ("*\n!*.md\nREADME*.md", "README-x.md", true),
        ("*\n!*.md\nREADME*.md", "a.md", false),
        ("*\n!README*.md\nREADME-secret.md", "README-secret.md", true),
        ("*\n!src/**/*.go", "src/a/b.go", false),
        ("*\n!src/**/*.go", "src/a/b.c", true),
        ("*\n!src/**/*.go", "src", true),
        ("**/node_modules\n!a/node_modules/b", "a/node_modules/b", false),
        ("**/node_modules\n!a/node_modules/b", "a/node_modules/c", true),
        ("foo/**\n!foo/a", "foo", false),
        ("foo/**\n!foo/a", "foo/a", false),
        ("foo/**\n!foo/a", "foo/a/b", false),
        ("foo\n!foo/**", "foo", true),
        ("foo\n!foo/**", "foo/a", false),
        ("**\n!**/*.md", "a/b.md", false),
        ("**\n!**/*.md", "a/b.c", true),
        ("a\n!a/b\na/b/c\n!a/b/c/d", "a/b/c/d", false),
        ("a\n!a/b\na/b/c\n!a/b/c/d", "a/b/c/e", true),
        ("!*\nfoo", "foo", true),
        ("!!foo\n*", "x", true),
        ("*\n!!foo", "!foo", false),
    ]);
}
