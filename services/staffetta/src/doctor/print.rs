//! The findings as text for people, and as JSON for programs.

use std::fmt::Write as _;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::finding::{Area, Finding, Level};
use crate::terminal::printable;

/// Where lines end.
const WIDTH: usize = 100;
/// Where what was seen begins.
const INDENT: usize = 12;

/// Everything that was found.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) at: Timestamp,
    pub(super) took: Duration,
    pub(super) findings: Vec<Finding>,
}

impl Report {
    /// The worst level there is.
    pub(super) fn worst(&self) -> Level {
        self.findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok)
    }

    fn count(&self, level: Level) -> usize {
        self.findings.iter().filter(|finding| finding.level == level).count()
    }

    /// One object; its form only ever grows. See docs/doctor.md.
    pub(super) fn json(&self) -> String {
        let summary: serde_json::Map<String, Value> =
            Level::ALL.map(|level| (level.name().to_owned(), json!(self.count(level)))).into_iter().collect();
        let findings: Vec<Value> = self.findings.iter().map(entry).collect();
        let report = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "time": self.at.to_string(),
            "took_ms": u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX),
            "worst": self.worst().name(),
            "summary": summary,
            "findings": findings,
        });
        format!("{report:#}\n")
    }

    /// By area, and what is wrong once more at the end, worst first.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for area in Area::ALL {
            let mut findings = self.findings.iter().filter(|finding| finding.area == area).peekable();
            if findings.peek().is_none() {
                continue;
            }
            let _ = writeln!(text, "{}", area.name());
            for finding in findings {
                let line = format!("{}{}", about(finding), printable(&finding.seen));
                let _ = write!(text, "  {:<9} {}", mark(finding.level), wrapped(&line, INDENT));
            }
            text.push('\n');
        }
        let mut problems: Vec<&Finding> =
            self.findings.iter().filter(|finding| finding.level >= Level::Warning).collect();
        problems.sort_by_key(|finding| std::cmp::Reverse(finding.level));
        if !problems.is_empty() {
            text.push_str("What to do, worst first\n");
        }
        for (number, finding) in problems.into_iter().enumerate() {
            let line = format!("{}{}", about(finding), printable(&finding.seen));
            let _ = write!(text, "{:>3}. {:<7} {}", number + 1, mark(finding.level), wrapped(&line, 13));
            if let Some(todo) = &finding.todo {
                let _ = write!(text, "{:13}{}", "", wrapped(&format!("-> {}", printable(todo)), 16));
            }
            if let Some(page) = finding.page() {
                let _ = writeln!(text, "{:16}See {page}", "");
            }
        }
        let _ = writeln!(text, "{}", self.verdict());
        text
    }

    fn verdict(&self) -> String {
        let counted = |level: Level, one: &str| counted(self.count(level), one);
        let took = self.took.as_secs_f64();
        if self.worst() < Level::Warning {
            let notes = counted(Level::Note, "note");
            return format!("Nothing is wrong ({} ok, {notes}; {took:.1} s).", self.count(Level::Ok));
        }
        let (errors, warnings) = (counted(Level::Error, "error"), counted(Level::Warning, "warning"));
        format!("{errors}, {warnings} ({} ok; {took:.1} s).", self.count(Level::Ok))
    }
}

fn entry(finding: &Finding) -> Value {
    json!({
        "area": finding.area.name(),
        "check": finding.check,
        "level": finding.level.name(),
        "subject": finding.subject,
        "seen": finding.seen,
        "do": finding.todo,
        "page": finding.page(),
    })
}

fn mark(level: Level) -> &'static str {
    match level {
        Level::Ok => "ok",
        Level::Note => "note",
        Level::Warning => "WARNING",
        Level::Error => "ERROR",
    }
}

/// What stands before what was seen: the check's own name, and its subject.
fn about(finding: &Finding) -> String {
    let check = finding.check.split_once('.').map_or(finding.check, |(_, name)| name);
    match &finding.subject {
        Some(subject) => format!("{check} {}: ", printable(subject)),
        None => format!("{check}: "),
    }
}

/// The text broken at blanks, its further lines indented.
fn wrapped(text: &str, indent: usize) -> String {
    let mut lines = String::new();
    let mut column = indent;
    for (number, word) in text.split(' ').enumerate() {
        let width = word.chars().count();
        if number > 0 && column + 1 + width > WIDTH {
            let _ = write!(lines, "\n{:indent$}", "");
            column = indent;
        } else if number > 0 {
            lines.push(' ');
            column += 1;
        }
        lines.push_str(word);
        column += width;
    }
    lines.push('\n');
    lines
}

/// A span of time in its largest unit, as people say it.
pub(super) fn span(time: SignedDuration) -> String {
    let seconds = time.unsigned_abs().as_secs();
    match seconds {
        0..2 => format!("{} ms", time.unsigned_abs().as_millis()),
        2..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// So many of them, as people say it.
pub(super) fn counted(count: usize, one: &str) -> String {
    match (count, one) {
        (1, _) => format!("1 {one}"),
        (_, "process") => format!("{count} processes"),
        _ => format!("{count} {one}s"),
    }
}

/// Bytes as people say them.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match UNITS.into_iter().find(|(unit, _)| bytes >= *unit) {
        #[expect(clippy::cast_precision_loss, reason = "one digit after the point is shown")]
        Some((unit, name)) => format!("{:.1} {name}", bytes as f64 / unit as f64),
        None => format!("{bytes} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Notes;
    use super::*;

    fn report() -> Report {
        let mut notes = Notes::of(Area::Nats);
        notes.ok("nats.stream", Some("SEND"), "12 messages");
        notes.warning("nats.fill", Some("WEBHOOKS"), "80 % full\u{1b}[2J", "Give it more room.");
        notes.error(
            "nats.stream",
            Some("EVENTS"),
            "it is not there",
            format!("Run it. {}", "word ".repeat(40)),
        );
        let at = "2026-11-22T10:00:00Z".parse().unwrap();
        Report { at, took: Duration::from_millis(1_234), findings: notes.end() }
    }

    #[test]
    fn text_is_grouped_and_ends_with_what_to_do_worst_first() {
        let text = report().text();
        assert!(text.starts_with("nats\n  ok        stream SEND: 12 messages\n"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        assert!(!text.contains('\u{1b}'));
        let (error, warning) = (text.find("  1. ERROR").unwrap(), text.find("  2. WARNING").unwrap());
        assert!(error < warning && text.ends_with("1 error, 1 warning (1 ok; 1.2 s).\n"), "{text}");
    }

    #[test]
    fn json_has_the_fields_that_the_page_names() {
        let json: Value = serde_json::from_str(&report().json()).unwrap();
        assert_eq!(json["worst"], "error");
        assert_eq!(json["summary"], json!({ "ok": 1, "note": 0, "warning": 1, "error": 1 }));
        assert_eq!(
            json["findings"][0],
            json!({
                "area": "nats", "check": "nats.stream", "level": "ok", "subject": "SEND", "seen": "12 messages",
                "do": null, "page": null,
            })
        );
        assert_eq!(json["findings"][1]["page"], "docs/runbooks/StaffettaStreamFull.md");
    }

    #[test]
    fn spans_and_sizes_are_said_in_their_largest_unit() {
        let said = |seconds: i64| span(SignedDuration::from_secs(seconds));
        assert_eq!(
            [said(1), said(90), said(3_600), said(86_400), said(864_000)],
            ["1000 ms", "90 s", "60 min", "24 h", "10 days"]
        );
        assert_eq!([size(10), size(2_048), size(3 << 29)], ["10 bytes", "2.0 KiB", "1.5 GiB"]);
    }
}
