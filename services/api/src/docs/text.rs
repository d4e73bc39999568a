//! Text on the page.

use std::fmt::{self, Display, Formatter, Write as _};

use serde_json::Value;

/// A JSON text, or nothing.
pub(super) fn of(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Text that means nothing but itself, in an element or an attribute.
pub(super) struct Escaped<T>(pub(super) T);

impl<T: Display> Display for Escaped<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for letter in self.0.to_string().chars() {
            match letter {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}

/// Text of which an empty line ends a paragraph, and where code stands between backticks.
pub(super) struct Marked<'a>(pub(super) &'a str);

impl Display for Marked<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let paragraphs = self.0.split("\n\n").map(str::trim).filter(|paragraph| !paragraph.is_empty());
        for paragraph in paragraphs {
            write!(f, "<p>{}</p>", Line(paragraph))?;
        }
        Ok(())
    }
}

/// The same without paragraphs.
pub(super) struct Line<'a>(pub(super) &'a str);

impl Display for Line<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (at, part) in self.0.split('`').enumerate() {
            if at % 2 == 1 {
                write!(f, "<code>{}</code>", Escaped(part))?;
            } else {
                write!(f, "{}", Escaped(part))?;
            }
        }
        Ok(())
    }
}
