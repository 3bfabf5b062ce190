//! Tables: aligned where they fit, else one line for each cell under the name of its column.

use super::inline::styled_chars;
use super::style::Style;
use unicode_width::UnicodeWidthChar;

/// Columns between two columns of a table.
const BETWEEN: usize = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Align {
    Left,
    Right,
    Centre,
}

/// True for the row that makes the rows around it a table: `|---|:-:|`.
pub fn is_delimiter(row: &str) -> bool {
    let cells = cells(row);
    let dashes = |cell: &String| {
        let inner = cell.trim_start_matches(':').trim_end_matches(':');
        !inner.is_empty() && inner.chars().all(|c| c == '-')
    };
    !cells.is_empty() && cells.iter().all(dashes)
}

/// The lines of a table whose second row is the delimiter.
pub fn render(rows: &[String], width: usize, styled: bool) -> Vec<String> {
    let mut rows: Vec<Vec<String>> = rows.iter().map(|row| cells(row)).collect();
    let aligns: Vec<Align> = rows.remove(1).iter().map(|cell| align(cell)).collect();
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let names: Vec<String> = rows[0].iter().map(|cell| styled_chars(cell, Style::BOLD, styled)).collect();
    let body: Vec<Vec<String>> = rows[1..]
        .iter()
        .map(|row| row.iter().map(|cell| styled_chars(cell, Style::PLAIN, styled)).collect())
        .collect();
    let all = || std::iter::once(&names).chain(&body);
    let widths: Vec<usize> = (0..count)
        .map(|at| all().filter_map(|row| row.get(at)).map(|cell| visible(cell)).max().unwrap_or(0))
        .collect();
    let total = widths.iter().sum::<usize>() + BETWEEN * count.saturating_sub(1);
    if total > width {
        return records(&names, &body);
    }
    let align = |at: usize| aligns.get(at).copied().unwrap_or(Align::Left);
    let line = |row: &Vec<String>| {
        let empty = String::new();
        let padded = widths.iter().enumerate().map(|(at, width)| {
            let cell = row.get(at).unwrap_or(&empty);
            pad(cell, *width, align(at))
        });
        padded.collect::<Vec<_>>().join(&" ".repeat(BETWEEN)).trim_end().to_owned()
    };
    let rule: Vec<String> = widths.iter().map(|width| "─".repeat(*width)).collect();
    let rule = Style::DIM.paint(styled, &rule.join(&" ".repeat(BETWEEN)));
    let mut lines = vec![line(&names), rule];
    lines.extend(body.iter().map(line));
    lines
}

/// One line for each cell, one block for each row.
fn records(names: &[String], body: &[Vec<String>]) -> Vec<String> {
    let mut lines = Vec::new();
    for (at, row) in body.iter().enumerate() {
        if at > 0 {
            lines.push(String::new());
        }
        for (at, cell) in row.iter().enumerate().filter(|(_, cell)| !cell.is_empty()) {
            match names.get(at).filter(|name| !name.is_empty()) {
                Some(name) => lines.push(format!("{name}: {cell}")),
                None => lines.push(cell.clone()),
            }
        }
    }
    lines
}

fn align(delimiter: &str) -> Align {
    match (delimiter.starts_with(':'), delimiter.ends_with(':')) {
        (true, true) => Align::Centre,
        (false, true) => Align::Right,
        _ => Align::Left,
    }
}

fn pad(cell: &str, width: usize, align: Align) -> String {
    let space = width.saturating_sub(visible(cell));
    let before = match align {
        Align::Left => 0,
        Align::Right => space,
        Align::Centre => space / 2,
    };
    format!("{}{cell}{}", " ".repeat(before), " ".repeat(space - before))
}

/// The cells of a row, without the space around them.
fn cells(row: &str) -> Vec<String> {
    let row = row.trim();
    let row = row.strip_prefix('|').unwrap_or(row);
    let mut cells = vec![String::new()];
    let mut chars = row.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' if chars.peek() == Some(&'|') => {
                chars.next();
                if let Some(cell) = cells.last_mut() {
                    cell.push('|');
                }
            }
            '|' => cells.push(String::new()),
            c => {
                if let Some(cell) = cells.last_mut() {
                    cell.push(c);
                }
            }
        }
    }
    // The bar at the end closes the last cell and opens none.
    if cells.last().is_some_and(|cell| cell.trim().is_empty()) {
        cells.pop();
    }
    cells.iter().map(|cell| cell.trim().to_owned()).collect()
}

/// Columns of a text with our own escapes in it.
pub fn visible(text: &str) -> usize {
    let mut escape = false;
    let mut columns = 0;
    for c in text.chars() {
        match c {
            '\x1b' => escape = true,
            'm' if escape => escape = false,
            _ if escape => {}
            c => columns += c.width().unwrap_or(0),
        }
    }
    columns
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn columns_are_aligned_as_their_delimiter_says() {
        let table = rows("| name | size | x |\n|:---|---:|:-:|\n| `a` | 1,024 | yes |\n| long name | 7 |");
        let wanted =
            ["name        size   x", "─────────  ─────  ───", "`a`        1,024  yes", "long name      7"];
        assert_eq!(render(&table, 30, false), wanted);
    }

    #[test]
    fn a_table_that_does_not_fit_is_a_list() {
        let table = rows("| name | what it does |\n|---|---|\n| read | gets the text of a file |\n| ls | |");
        let wanted = ["name: read", "what it does: gets the text of a file", "", "name: ls"];
        assert_eq!(render(&table, 20, false), wanted);
    }

    #[test]
    fn what_is_no_delimiter() {
        for row in ["| a | b |", "|", "| |", "|:|", "| --- | x |"] {
            assert!(!is_delimiter(row), "{row}");
        }
        for row in ["|---|", "| :-: |--:|", "|-|-|"] {
            assert!(is_delimiter(row), "{row}");
        }
    }

    #[test]
    fn bars_can_be_escaped() {
        assert_eq!(cells(r"| a \| b | c |"), ["a | b", "c"]);
    }
}
