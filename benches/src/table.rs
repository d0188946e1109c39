//! Lays out a table of text in columns.

/// A line of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Row {
    /// A rule across the table.
    Line,
    /// One text for each column.
    Cells(Vec<String>),
}

/// A row of a name and a value.
pub fn row(name: &str, value: impl Into<String>) -> Row {
    Row::Cells(vec![name.to_owned(), value.into()])
}

/// Lays rows out in columns.
pub fn table(rows: &[Row]) -> String {
    let cells = || {
        rows.iter().filter_map(|row| match row {
            Row::Cells(cells) => Some(cells),
            Row::Line => None,
        })
    };
    let columns = cells().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        cells().filter_map(|cells| cells.get(column)).map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<_> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        match row {
            Row::Line => text += &"-".repeat(widths.iter().sum::<usize>().min(72) + 2),
            Row::Cells(cells) => {
                let padded =
                    cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
                text += padded.collect::<Vec<_>>().join("  ").trim_end();
            }
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [row("a", "µ"), Row::Line, Row::Cells(vec!["long".to_owned(), "x".to_owned()])];
        assert_eq!(table(&rows), "a     µ\n-------\nlong  x\n");
        assert_eq!(table(&[]), "");
    }
}
