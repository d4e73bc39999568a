//! What the person sees: at most 100 columns, colours only on a terminal.

use std::{
    env,
    io::{self, IsTerminal, Write},
    time::Duration,
};

/// Between two lanes.
const GAP: usize = 20;
/// Most characters of a text that somebody else wrote.
const QUOTE: usize = 36;

/// Draws on standard output. Fails when nobody reads it any more.
#[derive(Debug)]
pub(super) struct Screen {
    terminal: bool,
    colours: bool,
}

/// What passes between two lanes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Arrow<'a> {
    Right(&'a str),
    Left(&'a str),
    Nothing,
}

/// A line of the picture: `erp` is between the ERP and Staffetta, `whatsapp` between Staffetta and WhatsApp.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row<'a> {
    pub(super) erp: Arrow<'a>,
    pub(super) whatsapp: Arrow<'a>,
    pub(super) note: &'a str,
}

#[derive(Clone, Copy)]
enum Ink {
    Bold,
    Dim,
    Green,
    Red,
    Cyan,
}

impl Screen {
    pub(super) fn new() -> Self {
        let terminal = io::stdout().is_terminal();
        Self { terminal, colours: terminal && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) }
    }

    /// Whether a line can be drawn over.
    pub(super) fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// A line of plain text.
    pub(super) fn line(&self, text: &str) -> io::Result<()> {
        self.put(text)
    }

    /// A line that matters less.
    pub(super) fn aside(&self, text: &str) -> io::Result<()> {
        self.put(&self.ink(Ink::Dim, text))
    }

    /// A headline, and in smaller print what it is about.
    pub(super) fn title(&self, title: &str, about: &str) -> io::Result<()> {
        self.put("")?;
        let text = format!("{}  {}", self.ink(Ink::Bold, title), self.ink(Ink::Dim, about));
        self.put(text.trim_end())
    }

    /// Something done, how long it took, and what to know about it.
    pub(super) fn done(&self, what: &str, took: Duration, about: &str) -> io::Result<()> {
        let took = format!("{:>8}", span(took));
        self.put(&format!("  {what:<28}{}   {}", self.ink(Ink::Green, &took), self.ink(Ink::Dim, about)))
    }

    /// Something that went well.
    pub(super) fn good(&self, text: &str) -> io::Result<()> {
        self.put(&self.ink(Ink::Green, text))
    }

    /// Something that went wrong.
    pub(super) fn wrong(&self, text: &str) -> io::Result<()> {
        self.put(&self.ink(Ink::Red, text))
    }

    /// A name and an address, in columns.
    pub(super) fn address(&self, name: &str, address: &str) -> io::Result<()> {
        self.put(&format!("  {name:<12}{}", self.ink(Ink::Cyan, address)))
    }

    /// The names above the lanes.
    pub(super) fn lanes(&self) -> io::Result<()> {
        let names = format!("{:>10}  {:<w$}{:<w$}{}", "", "Acme", "Staffetta", "WhatsApp", w = GAP + 1);
        self.put(names.trim_end())
    }

    /// What happened at `time`.
    pub(super) fn row(&self, time: &str, row: Row<'_>) -> io::Result<()> {
        let Row { erp, whatsapp, note } = row;
        let lane = self.ink(Ink::Dim, "│");
        let (time, erp, whatsapp) =
            (self.ink(Ink::Dim, &format!("{time:>10}")), self.arrow(erp), self.arrow(whatsapp));
        let text = format!("{time}  {lane}{erp}{lane}{whatsapp}{lane}  {note}");
        self.put(text.trim_end())
    }

    fn arrow(&self, arrow: Arrow<'_>) -> String {
        let dashes = |label: &str| "─".repeat((GAP - 6).saturating_sub(label.chars().count()));
        match arrow {
            Arrow::Right(label) => {
                format!(" {} {}► ", self.ink(Ink::Cyan, &format!("─ {label}")), dashes(label))
            }
            Arrow::Left(label) => {
                format!(" ◄{} {} ", dashes(label), self.ink(Ink::Green, &format!("{label} ─")))
            }
            Arrow::Nothing => " ".repeat(GAP),
        }
    }

    /// A line that the next line takes the place of. Drawn on a terminal only.
    pub(super) fn passing(&self, text: &str) -> io::Result<()> {
        if !self.terminal {
            return Ok(());
        }
        let mut out = io::stdout().lock();
        write!(out, "\r\x1b[2K{text}")?;
        out.flush()
    }

    fn put(&self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        // Whatever line is passing gives way.
        let clear = if self.terminal { "\r\x1b[2K" } else { "" };
        writeln!(out, "{clear}{text}")?;
        out.flush()
    }

    fn ink(&self, ink: Ink, text: &str) -> String {
        let code = match ink {
            Ink::Bold => "1",
            Ink::Dim => "2",
            Ink::Green => "32",
            Ink::Red => "31",
            Ink::Cyan => "36",
        };
        if self.colours && !text.is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// A time since something began, for the column of times.
pub(super) fn after(time: Duration) -> String {
    format!("+{}", span(time))
}

/// A length of time in the unit that suits it.
pub(super) fn span(time: Duration) -> String {
    let ms = time.as_secs_f64() * 1000.0;
    match ms {
        ..10.0 => format!("{ms:.1} ms"),
        ..1_000.0 => format!("{ms:.0} ms"),
        ..120_000.0 => format!("{:.1} s", ms / 1000.0),
        _ => format!("{} min {} s", time.as_secs() / 60, time.as_secs() % 60),
    }
}

/// A text that somebody else wrote: short, on one line, and without anything that steers a terminal.
pub(super) fn quote(text: &str) -> String {
    let mut quote: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(QUOTE).collect();
    if text.chars().count() > QUOTE {
        quote.push('…');
    }
    quote
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lanes_stay_in_their_columns() {
        let screen = Screen { terminal: false, colours: false };
        for arrow in [Arrow::Right("POST"), Arrow::Left("delivered"), Arrow::Nothing] {
            assert_eq!(screen.arrow(arrow).chars().count(), GAP, "{arrow:?}");
        }
    }

    #[test]
    fn what_others_write_does_not_steer_the_terminal() {
        assert_eq!(quote("a\x1b[2Jb\nc"), "a [2Jb c");
        assert_eq!(quote(&"x".repeat(50)).chars().count(), QUOTE + 1);
    }

    #[test]
    fn times_are_short() {
        let of = |ms: f64| span(Duration::from_secs_f64(ms / 1000.0));
        assert_eq!(of(4.24), "4.2 ms");
        assert_eq!(of(240.2), "240 ms");
        assert_eq!(of(1_234.0), "1.2 s");
        assert_eq!(of(125_000.0), "2 min 5 s");
    }
}
