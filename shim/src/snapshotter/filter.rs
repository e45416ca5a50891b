//! containerd's filters, in the one form in which it lists snapshots: comparisons joined by commas.

use cachestore::snapshots::{Info, Kind};
use tonic::Status;

/// One list of comparisons that must all hold.
pub(super) type Filter = Vec<Comparison>;

/// `FIELD==VALUE`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Comparison {
    field: Field,
    value: String,
}

#[derive(Debug, PartialEq, Eq)]
enum Field {
    Name,
    Parent,
    Kind,
    Label(String),
}

/// Parses filters, of which any must hold.
pub(super) fn parse(filters: &[String]) -> Result<Vec<Filter>, Status> {
    filters
        .iter()
        .map(|filter| {
            parse_one(filter)
                .ok_or_else(|| Status::invalid_argument(format!("the filter {filter} is not understood")))
        })
        .collect()
}

fn parse_one(mut text: &str) -> Option<Filter> {
    let mut comparisons = Vec::new();
    loop {
        let (name, rest) = field_name(text)?;
        let (value, rest) = word(rest.strip_prefix("==")?)?;
        comparisons.push(Comparison { field: name, value });
        match rest.strip_prefix(',') {
            Some(more) => text = more,
            None => return rest.is_empty().then_some(comparisons),
        }
    }
}

fn field_name(text: &str) -> Option<(Field, &str)> {
    if let Some(rest) = text.strip_prefix("labels.") {
        let (name, rest) = word(rest)?;
        return Some((Field::Label(name), rest));
    }
    let (name, rest) = word(text)?;
    let field = match name.as_str() {
        "name" => Field::Name,
        "parent" => Field::Parent,
        "kind" => Field::Kind,
        _ => return None,
    };
    Some((field, rest))
}

/// Reads a quoted word, or one up to the next `=` or `,`.
fn word(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(['=', ',']).unwrap_or(text.len());
        return (end > 0).then(|| (text[..end].to_owned(), &text[end..]));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((index, character)) = characters.next() {
        match character {
            '"' => return Some((value, &quoted[index + 1..])),
            '\\' => value.push(characters.next()?.1),
            _ => value.push(character),
        }
    }
    None
}

/// Tells whether a snapshot passes; without filters every one does.
pub(super) fn matches(filters: &[Filter], info: &Info) -> bool {
    filters.is_empty() || filters.iter().any(|filter| filter.iter().all(|comparison| comparison.holds(info)))
}

impl Comparison {
    fn holds(&self, info: &Info) -> bool {
        let value = match &self.field {
            Field::Name => Some(info.name.as_str()),
            Field::Parent => Some(info.parent.as_deref().unwrap_or_default()),
            Field::Label(name) => info.labels.get(name).map(String::as_str),
            Field::Kind => Some(match info.kind {
                Kind::Active => "active",
                Kind::View => "view",
                Kind::Committed => "committed",
            }),
        };
        value == Some(&self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passes(filter: &str) -> Option<bool> {
        let info = Info {
            name: "sha256:a".into(),
            kind: Kind::Committed,
            parent: None,
            labels: [("containerd.io/snapshot.ref".to_owned(), "sha256:a".to_owned())].into(),
            created_at: 0,
            updated_at: 0,
        };
        parse(&[filter.to_owned()]).ok().map(|filters| matches(&filters, &info))
    }

    #[test]
    fn containerds_filters_are_understood() {
        for (filter, expected) in [
            (r#"labels."containerd.io/snapshot.ref"==sha256:a,parent=="""#, Some(true)),
            (r#"labels."containerd.io/snapshot.ref"==sha256:b,parent=="""#, Some(false)),
            (r#"labels."containerd.io/snapshot.ref"==sha256:a,parent=="sha256:b""#, Some(false)),
            (r#"labels."absent"=="""#, Some(false)),
            ("kind==committed", Some(true)),
            (r#"name=="sha256:\a""#, Some(true)),
            ("name", None),
            ("name=sha256:a", None),
            ("other==x", None),
            (r#"name=="open"#, None),
            ("name==a,", None),
            ("", None),
        ] {
            assert_eq!(passes(filter), expected, "{filter}");
        }
        assert!(matches(
            &[],
            &Info {
                name: String::new(),
                kind: Kind::View,
                parent: None,
                labels: [].into(),
                created_at: 0,
                updated_at: 0
            }
        ));
    }
}
