//! Answers as a person reads them: aligned columns, times, words, and nothing that steers the terminal.

use std::fmt::{self, Write as _};

use chrono::{DateTime, Utc};
use serde::Serialize;

/// Rows below a heading, each column as wide as its widest cell.
pub(super) struct TextTable {
    heading: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

/// Between two columns.
const GAP: &str = "  ";

impl TextTable {
    /// A table without rows.
    pub(super) fn new(heading: &[&'static str]) -> Self {
        Self {
            heading: heading.to_vec(),
            rows: Vec::new(),
        }
    }

    /// Adds a row; cells beyond the heading are not shown.
    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows
            .push(cells.into_iter().map(|c| clean(&c)).collect());
    }
}

impl fmt::Display for TextTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |text: &str| text.chars().count();
        let widths: Vec<usize> = (self.heading.iter().enumerate())
            .map(|(column, title)| {
                let cells = self.rows.iter().filter_map(|row| row.get(column));
                cells.map(|cell| width(cell)).fold(width(title), usize::max)
            })
            .collect();
        let line = |cells: &mut dyn Iterator<Item = &str>| {
            let mut line = String::new();
            for (cell, width) in cells.zip(&widths) {
                let _ = write!(line, "{cell:<width$}{GAP}");
            }
            line.truncate(line.trim_end().len());
            line
        };
        writeln!(f, "{}", line(&mut self.heading.iter().copied()))?;
        for row in &self.rows {
            writeln!(f, "{}", line(&mut row.iter().map(String::as_str)))?;
        }
        Ok(())
    }
}

/// On one line, and without control characters: what others wrote must not move a cursor.
pub(super) fn clean(text: &str) -> String {
    let spaced = |c: char| if c.is_control() { ' ' } else { c };
    let text: String = text.chars().map(spaced).collect();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A time to the second, as an operator compares it with a log.
pub(super) fn moment(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%S").to_string()
}

/// `–` where there is nothing.
pub(super) fn or_dash(value: Option<impl fmt::Display>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| value.to_string())
}

/// What a value of an enum is called on the wire.
pub(super) fn word(value: &impl Serialize) -> String {
    let value = serde_json::to_value(value).unwrap_or_default();
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = TextTable::new(&["ID", "STATE"]);
        table.row(["1".into(), "soaking".into()]);
        table.row(["æøå".into(), "x\u{1b}[2J\ny".into()]);
        assert_eq!(
            table.to_string(),
            "ID   STATE\n1    soaking\næøå  x [2J y\n"
        );
    }
}
