//! Events as files.

use std::io;
use std::path::Path;

use aws_lc_rs::digest;
use bytes::Bytes;
use serde::Serialize;
use staffetta_bus::{Encoding, LoggedEvent, Spool, event_message};

use super::folder::Folder;
use super::manifest::Manifest;

/// A line of the manifest.
#[derive(Serialize)]
struct Line<'a> {
    sequence: u64,
    id: &'a str,
    r#type: &'a str,
    time: String,
    file: &'a str,
    sha256: String,
}

/// Writes the event's file and its line of the manifest. `root` is `delivery.spool_root`. Once it returns, both are on
/// the disk; a repeat after a crash changes nothing, not even if the file was read and deleted meanwhile. Blocks: call
/// it where blocking is allowed. In one folder one file is written at a time.
///
/// # Errors
/// If the folder does not lie in the root, somebody else is writing in it, or the disk did not take it.
pub(crate) fn write(spool: &Spool, root: &Path, logged: &LoggedEvent) -> io::Result<()> {
    let file = EventFile::of(logged);
    let folder = Folder::open(root, &spool.path)?.sub("events")?;
    let _lock = folder.lock()?;
    let manifest = Manifest::of(&folder);
    // The line comes after the file: what has its line was there.
    if manifest.names(&file.name)? {
        return Ok(());
    }
    file.put(&folder)?;
    manifest.append(&file.line)
}

/// Writes an event again that was asked for again: its file comes back, and a new line tells so. Otherwise as
/// [`write`]; a repeat after a crash adds one more line.
///
/// # Errors
/// As [`write`].
pub(crate) fn write_again(spool: &Spool, root: &Path, logged: &LoggedEvent) -> io::Result<()> {
    let file = EventFile::of(logged);
    let folder = Folder::open(root, &spool.path)?.sub("events")?;
    let _lock = folder.lock()?;
    file.put(&folder)?;
    Manifest::of(&folder).append(&file.line)
}

/// An event's file, and what the manifest says of it.
struct EventFile {
    name: String,
    content: Bytes,
    line: String,
}

impl EventFile {
    fn of(logged: &LoggedEvent) -> Self {
        let LoggedEvent { sequence, event, .. } = logged;
        let (_, content) = event_message(event, Encoding::Json);
        let id: String =
            event.id.as_str().chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
        let name = format!("{sequence:020}-{id}.json");
        let line = Line {
            sequence: *sequence,
            id: event.id.as_str(),
            r#type: event.kind.as_str(),
            time: event.time.to_string(),
            file: &name,
            sha256: hex::encode(digest::digest(&digest::SHA256, &content)),
        };
        let line = serde_json::to_string(&line).expect("texts and a number are JSON");
        Self { name, content, line }
    }

    /// Writes the file, unless a crash came between it and its line.
    fn put(&self, folder: &Folder) -> io::Result<()> {
        let there = folder.file(&self.name).symlink_metadata();
        if there.is_ok_and(|there| there.is_file() && there.len() == self.content.len() as u64) {
            return Ok(());
        }
        folder.put(&self.name, &self.content)
    }
}
