//! Letters on a terminal, and as JSON.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use staffetta_bus::{Letter, ShownPayload};

use crate::terminal::{columns, printable};

/// A letter without its payload.
pub(super) fn entry(letter: &Letter) -> Value {
    json!({
        "id": letter.id.to_string(),
        "time": letter.time.to_string(),
        "service": letter.service,
        "tenant": letter.tenant.as_ref().map(ToString::to_string),
        "channel": letter.channel.as_ref().map(ToString::to_string),
        "reason": letter.reason,
        "detail": letter.detail,
        "subject": letter.subject,
        "size": letter.payload.len(),
        "replayable": letter.way_back().is_ok(),
    })
}

/// A letter with its payload.
pub(super) fn whole(letter: &Letter) -> Value {
    let mut value = entry(letter);
    match letter.shown_payload() {
        ShownPayload::Json(payload) => value["payload"] = payload,
        ShownPayload::Bytes(payload) => value["payload_base64"] = STANDARD.encode(payload).into(),
    }
    value
}

/// One line a letter; the first lines stand under headings.
#[derive(Default)]
pub(super) struct Table {
    rows: Vec<[String; 8]>,
    has_headings: bool,
}

impl Table {
    pub(super) fn add(&mut self, letter: &Letter) {
        if !self.has_headings {
            let headings = ["ID", "TIME", "SERVICE", "TENANT", "CHANNEL", "REASON", "BYTES", "DETAIL"];
            self.rows.push(headings.map(str::to_owned));
            self.has_headings = true;
        }
        self.rows.push([
            letter.id.to_string(),
            format!("{:.0}", letter.time),
            letter.service.clone(),
            known(letter.tenant.as_ref()),
            known(letter.channel.as_ref()),
            letter.reason.clone(),
            letter.payload.len().to_string(),
            letter.detail.clone(),
        ]);
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The lines so far, in columns.
    pub(super) fn take(&mut self) -> String {
        columns(&std::mem::take(&mut self.rows))
    }
}

fn known(id: Option<&impl ToString>) -> String {
    id.map_or_else(|| "-".to_owned(), ToString::to_string)
}

/// One line a field, then the payload.
pub(super) fn page(letter: &Letter) -> String {
    let replay = match letter.way_back() {
        Ok(way) => format!("goes to {}", way.subject),
        Err(why) => format!("can't be: {why}"),
    };
    let fields = [
        ("id", letter.id.to_string()),
        ("time", letter.time.to_string()),
        ("service", letter.service.clone()),
        ("tenant", known(letter.tenant.as_ref())),
        ("channel", known(letter.channel.as_ref())),
        ("reason", letter.reason.clone()),
        ("detail", letter.detail.clone()),
        ("subject", letter.subject.clone()),
        ("replay", replay),
        ("size", format!("{} bytes", letter.payload.len())),
    ];
    let mut page = String::new();
    for (name, value) in fields {
        let _ = writeln!(page, "{name:8} {}", printable(&value));
    }
    let payload = match letter.shown_payload() {
        ShownPayload::Json(value) => format!("{value:#}"),
        ShownPayload::Bytes(bytes) if bytes.is_empty() => return page,
        ShownPayload::Bytes(bytes) => format!("not JSON, in base64:\n{}", STANDARD.encode(bytes)),
    };
    let _ = writeln!(page);
    for line in payload.lines() {
        let _ = writeln!(page, "{}", printable(line));
    }
    page
}
