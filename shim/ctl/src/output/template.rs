//! The part of Go's templates that people use with docker: fields, and fields as JSON.

use std::fmt::Write as _;

use serde_json::Value;

/// The longest template that is taken, in bytes.
const MAX_TEMPLATE_BYTES: usize = 4096;

/// A parsed template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    /// `{{.A.B}}`
    Field(Vec<String>),
    /// `{{json .A.B}}`
    Json(Vec<String>),
}

impl Template {
    /// Parses a template; `\t` and `\n` outside of the braces stand for a tab and a line end.
    ///
    /// # Errors
    /// In words, naming what is not supported.
    pub(crate) fn parse(template: &str) -> Result<Self, String> {
        if template.len() > MAX_TEMPLATE_BYTES {
            return Err(format!("a template has at most {MAX_TEMPLATE_BYTES} bytes"));
        }
        let mut pieces = Vec::new();
        let mut rest = template;
        while let Some((before, after)) = rest.split_once("{{") {
            push_text(&mut pieces, before);
            let (action, after) = after.split_once("}}").ok_or("a template has a `{{` without its `}}`")?;
            pieces.push(parse_action(action)?);
            rest = after;
        }
        push_text(&mut pieces, rest);
        Ok(Self(pieces))
    }

    /// Fills the template in.
    ///
    /// # Errors
    /// In words, if the object does not have a field.
    pub(crate) fn fill(&self, object: &Value) -> Result<String, String> {
        let mut out = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Field(path) => push_go(&mut out, find(object, path)?),
                Piece::Json(path) => out.push_str(&find(object, path)?.to_string()),
            }
        }
        Ok(out)
    }

    /// Returns the first fields that the template asks for.
    pub(crate) fn fields(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Text(_) => None,
            Piece::Field(path) | Piece::Json(path) => path.first().map(String::as_str),
        })
    }
}

fn push_text(pieces: &mut Vec<Piece>, text: &str) {
    if !text.is_empty() {
        pieces.push(Piece::Text(text.replace(r"\t", "\t").replace(r"\n", "\n")));
    }
}

fn parse_action(action: &str) -> Result<Piece, String> {
    let refuse = || {
        format!(
            "the template action {{{{{action}}}}} is not supported: use {{{{.Field}}}}, {{{{json .}}}} or {{{{json .Field}}}}"
        )
    };
    let mut words = action.split_whitespace();
    let (first, second) = (words.next().unwrap_or_default(), words.next());
    if words.next().is_some() {
        return Err(refuse());
    }
    match (first, second) {
        ("json", Some(field)) => Ok(Piece::Json(parse_path(field).ok_or_else(refuse)?)),
        (field, None) => Ok(Piece::Field(parse_path(field).ok_or_else(refuse)?)),
        _ => Err(refuse()),
    }
}

fn parse_path(field: &str) -> Option<Vec<String>> {
    let names = field.strip_prefix('.')?;
    if names.is_empty() {
        return Some(Vec::new());
    }
    let is_name = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    names.split('.').map(|name| is_name(name).then(|| name.to_owned())).collect()
}

fn find<'a>(object: &'a Value, path: &[String]) -> Result<&'a Value, String> {
    let mut found = object;
    for name in path {
        found = found
            .get(name)
            .ok_or_else(|| format!("there is no field {:?} for the template", path.join(".")))?;
    }
    Ok(found)
}

/// Writes a value as Go's templates do.
fn push_go(out: &mut String, value: &Value) {
    match value {
        Value::Null => out.push_str("<no value>"),
        Value::String(text) => out.push_str(text),
        Value::Bool(_) | Value::Number(_) => {
            write!(out, "{value}").expect("writing to a string cannot fail");
        }
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(' ');
                }
                push_go(out, item);
            }
            out.push(']');
        }
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by_key(|(name, _)| name.as_str());
            out.push_str("map[");
            for (index, (name, field)) in fields.into_iter().enumerate() {
                out.push_str(if index > 0 { " " } else { "" });
                out.push_str(name);
                out.push(':');
                push_go(out, field);
            }
            out.push(']');
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn filling() {
        let object = json!({
            "ID": "sha256:1", "Size": 12, "Dangling": true, "Tags": ["a", "b"], "None": null,
            "Config": { "Env": ["K=V"], "Labels": { "z": "1", "a": "2" } },
        });
        let rows = [
            ("{{.ID}}", "sha256:1"),
            (r"{{ .ID }}\t{{.Size}}\n", "sha256:1\t12\n"),
            ("{{json .ID}} {{json .Tags}}", r#""sha256:1" ["a","b"]"#),
            ("{{.Tags}} {{.Dangling}} {{.None}}", "[a b] true <no value>"),
            ("{{.Config.Labels}}", "map[a:2 z:1]"),
            ("{{json .Config.Env}}", r#"["K=V"]"#),
            ("x}} {.ID}", "x}} {.ID}"),
            ("", ""),
        ];
        for (template, expected) in rows {
            assert_eq!(Template::parse(template).unwrap().fill(&object).unwrap(), expected, "{template}");
        }
        let all = Template::parse("{{json .}}").unwrap();
        assert_eq!(all.fill(&json!({"A": "x"})).unwrap(), r#"{"A":"x"}"#);
        assert_eq!(all.fields().count(), 0);
    }

    #[test]
    fn refusals() {
        let rows = [
            ("{{if .ID}}x{{end}}", "{{if .ID}}"),
            ("{{range .Tags}}", "{{range .Tags}}"),
            ("{{.ID | upper}}", "{{.ID | upper}}"),
            ("{{}}", "{{}}"),
            ("{{json}}", "{{json}}"),
            ("{{.A..B}}", "{{.A..B}}"),
            ("{{.A-B}}", "{{.A-B}}"),
            ("{{.1}}", "{{.1}}"),
            ("{{.ID", "without its `}}`"),
        ];
        for (template, expected) in rows {
            let error = Template::parse(template).unwrap_err();
            assert!(error.contains(expected), "{template}: {error}");
        }
        assert!(Template::parse(&"x".repeat(MAX_TEMPLATE_BYTES + 1)).is_err());
    }

    #[test]
    fn missing_fields() {
        let template = Template::parse("{{.Config.Nope}}").unwrap();
        let error = template.fill(&json!({"Config": {}})).unwrap_err();
        assert_eq!(error, r#"there is no field "Config.Nope" for the template"#);
        assert!(template.fill(&json!({"Config": "text"})).is_err());
    }
}
