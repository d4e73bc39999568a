//! What goes to whoever looks at a terminal.

use std::fmt::Write as _;
use std::io;

/// The rows in columns, one line each.
pub(crate) fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: [usize; N] = std::array::from_fn(width);
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            let _ = write!(line, "{cell:width$}  ");
        }
        text.push_str(printable(&line).trim_end());
        text.push('\n');
    }
    text
}

/// Nothing that came from outside may move a terminal's cursor.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|sign| if sign.is_control() { '\u{fffd}' } else { sign }).collect()
}

/// Whether it failed because whoever read the output has seen enough.
pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_from_outside_does_not_speak_to_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\u{9b}c\rd"), "a\u{fffd}[2Jb\u{fffd}c\u{fffd}d");
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["ID", "WHAT"], ["d100", "città\n"], ["d1", ""]].map(|row| row.map(str::to_owned));
        assert_eq!(columns(&rows), "ID    WHAT\nd100  città\u{fffd}\nd1\n");
    }
}
