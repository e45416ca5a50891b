//! Columns as docker aligns them.

use super::text;

/// What a column has at least, with its padding.
const MIN_COLUMN: usize = 10;
/// Blanks between the widest cell of a column and the next column.
const PADDING: usize = 3;

/// Writes rows in aligned columns. The last cell of a row is written as it is.
pub(crate) fn columns(rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = Vec::new();
    for row in rows {
        for (column, cell) in row.iter().enumerate().take(row.len().saturating_sub(1)) {
            let width = (text::width(cell) + PADDING).max(MIN_COLUMN);
            match widths.get_mut(column) {
                Some(widest) => *widest = width.max(*widest),
                None => widths.push(width),
            }
        }
    }
    let mut out = String::new();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            out.push_str(cell);
            if column + 1 < row.len() {
                out.extend(std::iter::repeat_n(' ', widths[column].saturating_sub(text::width(cell))));
            }
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(lines: &[&[&str]]) -> Vec<Vec<String>> {
        lines.iter().map(|line| line.iter().map(|&cell| cell.to_owned()).collect()).collect()
    }

    #[test]
    fn alignment() {
        let aligned =
            columns(&rows(&[&["REPOSITORY", "TAG", "SIZE"], &["registry.example/app", "1", "12.3MB"]]));
        assert_eq!(
            aligned,
            "REPOSITORY             TAG       SIZE\nregistry.example/app   1         12.3MB\n"
        );
    }

    #[test]
    fn wide_characters_and_uneven_rows() {
        let aligned = columns(&rows(&[&["日本語日本語", "x"], &["a"], &[], &["b", "y"]]));
        assert_eq!(aligned, "日本語日本語   x\na\n\nb              y\n");
    }
}
