//! Rows of named fields, printed as `--format` says.

use std::str::FromStr;

use serde_json::{Map, Value};

use super::template::Template;
use super::{table, text};
use crate::exit::Failure;

/// What `--format` can say, in the words of docker's help.
pub(crate) const HELP: &str = "Format the output: 'table', 'table TEMPLATE', 'json', or TEMPLATE, where a template is text with \
                               {{.Field}} and {{json .Field}}";

/// How rows are printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Format {
    /// The usual columns, with headers.
    Table,
    /// The columns of a template, with headers.
    TableOf(Template),
    /// One JSON object a line.
    Json,
    /// A template a line.
    Template(Template),
}

impl FromStr for Format {
    type Err = String;

    fn from_str(format: &str) -> Result<Self, String> {
        match format.trim() {
            "" | "table" => Ok(Self::Table),
            "json" => Ok(Self::Json),
            format => match format.strip_prefix("table ") {
                Some(template) => Template::parse(template.trim_start()).map(Self::TableOf),
                None if format.contains("{{") => Template::parse(format).map(Self::Template),
                None => Err("this is neither 'table', nor 'json', nor a template with {{.Field}}".to_owned()),
            },
        }
    }
}

/// The fields of a kind of row, by docker's names and in their order, each with the header of its column.
#[derive(Debug)]
pub(crate) struct Fields(pub &'static [(&'static str, &'static str)]);

/// One row: a value for each field.
pub(crate) type Row = Vec<String>;

impl Fields {
    /// Writes rows; `usual` names the columns of the usual table.
    ///
    /// # Errors
    /// [`Failure::Usage`] if the template asks for a field that there is not.
    pub(crate) fn write(&self, format: &Format, usual: &[&str], rows: &[Row]) -> Result<String, Failure> {
        self.check(format)?;
        Ok(match format {
            Format::Table => self.write_table(usual, rows),
            Format::Json => rows.iter().map(|row| format!("{}\n", Value::Object(self.object(row)))).collect(),
            Format::Template(template) => {
                let lines: Result<String, String> =
                    rows.iter().map(|row| Ok(template.fill(&self.object(row).into())? + "\n")).collect();
                lines.map_err(Failure::Usage)?
            }
            Format::TableOf(template) => {
                let headers: Row = self.0.iter().map(|(_, header)| (*header).to_owned()).collect();
                let lines: Result<Vec<_>, String> =
                    std::iter::once(&headers).chain(rows).map(|row| self.cells(template, row)).collect();
                table::columns(&lines.map_err(Failure::Usage)?)
            }
        })
    }

    /// Checks that a template asks for nothing that there is not.
    pub(crate) fn check(&self, format: &Format) -> Result<(), Failure> {
        let (Format::TableOf(template) | Format::Template(template)) = format else { return Ok(()) };
        match template.fields().find(|field| self.position(field).is_none()) {
            None => Ok(()),
            Some(field) => {
                let known: Vec<_> = self.0.iter().map(|(name, _)| *name).collect();
                Err(Failure::Usage(format!("there is no field {field:?} here, but {}", known.join(", "))))
            }
        }
    }

    /// Returns a row as the object that docker's JSON has for it.
    pub(crate) fn object(&self, row: &Row) -> Map<String, Value> {
        self.0.iter().zip(row).map(|((name, _), value)| ((*name).to_owned(), value.clone().into())).collect()
    }

    fn write_table(&self, usual: &[&str], rows: &[Row]) -> String {
        let chosen: Vec<usize> = usual.iter().filter_map(|name| self.position(name)).collect();
        let headers = chosen.iter().map(|&at| self.0[at].1.to_owned()).collect();
        let cells = |row: &Row| chosen.iter().map(|&at| text::single_line(&row[at]).into_owned()).collect();
        let lines: Vec<Row> = std::iter::once(headers).chain(rows.iter().map(cells)).collect();
        table::columns(&lines)
    }

    fn cells(&self, template: &Template, row: &Row) -> Result<Row, String> {
        let clean: Row = row.iter().map(|value| text::single_line(value).into_owned()).collect();
        Ok(template.fill(&self.object(&clean).into())?.split('\t').map(str::to_owned).collect())
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.0.iter().position(|(known, _)| *known == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELDS: Fields = Fields(&[("ID", "IMAGE ID"), ("Repository", "REPOSITORY"), ("Size", "SIZE")]);

    fn write(format: &str) -> Result<String, Failure> {
        let rows = [
            vec!["1234".into(), "a\tb".into(), "1kB".into()],
            vec!["5".into(), "long-name".into(), "0B".into()],
        ];
        FIELDS.write(&format.parse().unwrap(), &["Repository", "ID"], &rows)
    }

    #[test]
    fn formats() {
        let usual = "REPOSITORY   IMAGE ID\na b          1234\nlong-name    5\n";
        let rows = [
            ("", usual),
            ("table", usual),
            (r"table {{.ID}}\t{{.Size}}", "IMAGE ID   SIZE\n1234       1kB\n5          0B\n"),
            ("table {{.ID}} {{.Size}}", "IMAGE ID SIZE\n1234 1kB\n5 0B\n"),
            (" {{.Repository}}:{{.ID}} ", "a\tb:1234\nlong-name:5\n"),
            ("{{json .ID}}", "\"1234\"\n\"5\"\n"),
            (
                "json",
                "{\"ID\":\"1234\",\"Repository\":\"a\\tb\",\"Size\":\"1kB\"}\n\
                 {\"ID\":\"5\",\"Repository\":\"long-name\",\"Size\":\"0B\"}\n",
            ),
        ];
        for (format, expected) in rows {
            assert_eq!(write(format).unwrap(), expected, "{format:?}");
        }
        assert_eq!(write("{{json .}}").unwrap(), write("json").unwrap());
    }

    #[test]
    fn refusals() {
        for format in ["yaml", "table {{if .ID}}", "tables", "ID"] {
            assert!(format.parse::<Format>().is_err(), "{format}");
        }
        let error = write("{{.Nope}}").unwrap_err();
        assert_eq!(error.message().unwrap(), "there is no field \"Nope\" here, but ID, Repository, Size");
        assert!(matches!(error, Failure::Usage(_)));
    }
}
