use super::error::Fault;

/// One `--mount` of a `RUN`: its options in their order, not yet interpreted.
///
/// Which options a mount may have depends on its type, and the type may come from a variable; so their meaning is
/// decided after expansion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountOptions {
    /// The options. There is at least one.
    pub options: Vec<MountOption>,
}

impl MountOptions {
    /// Returns the stage, context or image that the mount takes its files from. It has no variables.
    #[must_use]
    pub fn from(&self) -> Option<&str> {
        let mut values = self.options.iter().rev().filter(|option| option.key == "from");
        values.find_map(|option| option.value.as_deref()).filter(|value| !value.is_empty())
    }
}

/// An option of a mount: `key` or `key=value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountOption {
    /// The key in lower case.
    pub key: String,
    /// The value, if there is a `=`; expanded, unless the key is `from`.
    pub value: Option<String>,
}

/// Reads the value of a `--mount` flag.
pub(super) fn mount(text: &str) -> Result<MountOptions, Fault> {
    let options: Vec<MountOption> = fields(text, "--mount")?.iter().map(|field| option(field)).collect();
    for option in options.iter().filter(|option| option.key == "from") {
        let value = option.value.as_deref().unwrap_or_default();
        // A dollar at the very end begins no variable.
        if value.find('$').is_some_and(|index| index + 1 < value.len()) {
            return Err(Fault::new("RUN: variables are not expanded in --mount=from").with_hint(
                "name the image in a stage of its own (FROM $IMAGE AS name) and mount from that",
            ));
        }
    }
    Ok(MountOptions { options })
}

pub(super) fn option(field: &str) -> MountOption {
    match field.split_once('=') {
        Some((key, value)) => MountOption { key: key.to_lowercase(), value: Some(value.to_owned()) },
        None => MountOption { key: field.to_lowercase(), value: None },
    }
}

/// Splits a flag's value at its commas. A field may stand in double quotes, in which two quotes are one (RFC 4180).
pub(super) fn fields(text: &str, flag: &str) -> Result<Vec<String>, Fault> {
    let broken = || Fault::new(format!("RUN: {flag} has a misplaced double quote: {text}"));
    if text.is_empty() {
        return Err(Fault::new(format!("RUN: {flag} must not be empty")));
    }
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        let (field, tail) = if let Some(quoted) = rest.strip_prefix('"') {
            quoted_field(quoted).ok_or_else(broken)?
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            (rest[..end].to_owned(), &rest[end..])
        };
        if !rest.starts_with('"') && field.contains('"') {
            return Err(broken());
        }
        fields.push(field);
        if tail.is_empty() {
            return Ok(fields);
        }
        rest = tail.strip_prefix(',').ok_or_else(broken)?;
    }
}

/// Reads a field after its opening quote; returns it and what follows its closing quote.
fn quoted_field(text: &str) -> Option<(String, &str)> {
    let mut field = String::new();
    let mut rest = text;
    loop {
        let (head, tail) = rest.split_once('"')?;
        field.push_str(head);
        match tail.strip_prefix('"') {
            Some(after) => {
                field.push('"');
                rest = after;
            }
            None => return Some((field, tail)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_split_at_commas_outside_quotes() {
        let rows: &[(&str, Option<&[&str]>)] = &[
            ("type=cache,target=/c", Some(&["type=cache", "target=/c"])),
            ("a", Some(&["a"])),
            ("a,", Some(&["a", ""])),
            (",", Some(&["", ""])),
            (r#""target=/a,b",ro"#, Some(&["target=/a,b", "ro"])),
            (r#""a""b""#, Some(&[r#"a"b"#])),
            (r#""",x"#, Some(&["", "x"])),
            ("", None),
            (r#"a"b"#, None),
            (r#"a="b,c""#, None),
            (r#""a"#, None),
            (r#""a"b"#, None),
        ];
        for (text, expected) in rows {
            let actual = fields(text, "--mount").ok();
            let actual: Option<Vec<&str>> =
                actual.as_ref().map(|list| list.iter().map(String::as_str).collect());
            assert_eq!(actual.as_deref(), *expected, "{text}");
        }
    }

    #[test]
    fn the_source_of_a_mount_is_literal() {
        let rows: &[(&str, Result<Option<&str>, ()>)] = &[
            ("from=base,target=/x", Ok(Some("base"))),
            ("FROM=a,from=b", Ok(Some("b"))),
            ("from=", Ok(None)),
            ("target=/$x", Ok(None)),
            ("from=cost$", Ok(Some("cost$"))),
            ("from=$base", Err(())),
            ("from=a${b}c", Err(())),
        ];
        for (text, expected) in rows {
            let actual = mount(text);
            assert_eq!(actual.as_ref().map(MountOptions::from).map_err(|_| ()), *expected, "{text}");
        }
    }
}
