//! The list of the event files: one line of JSON for each, in the order in which they were written.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use super::folder::Folder;

const NAME: &str = "manifest.jsonl";
/// The one before, full.
const BEFORE: &str = "manifest.1.jsonl";
/// Size from which on a new one is begun, in bytes: some 250,000 files.
const FULL: u64 = 64 << 20;
/// How far back a line is looked for, in bytes: some thousand files, and no more are ever told again after a crash.
const LOOK_BACK: u64 = 256 << 10;

/// The manifest of one folder, for as long as one file is written.
pub(super) struct Manifest<'a> {
    folder: &'a Folder,
}

impl<'a> Manifest<'a> {
    pub(super) fn of(folder: &'a Folder) -> Self {
        Self { folder }
    }

    /// Whether the file has its line already, among the last ones.
    pub(super) fn names(&self, file: &str) -> io::Result<bool> {
        let needle = format!("\"file\":\"{file}\"");
        let mut room = LOOK_BACK;
        for name in [NAME, BEFORE] {
            let end = end_of(&self.folder.file(name), room)?;
            // What a crash left of a line does not count.
            let whole = end.rfind('\n').map_or("", |at| &end[..at]);
            if whole.contains(&needle) {
                return Ok(true);
            }
            room = room.saturating_sub(end.len() as u64);
        }
        Ok(false)
    }

    /// Appends a line. Once this returns, it is on the disk.
    pub(super) fn append(&self, line: &str) -> io::Result<()> {
        let path = self.folder.file(NAME);
        if size_of(&path)? >= FULL {
            fs::rename(&path, self.folder.file(BEFORE))?;
        }
        if size_of(&path)? == 0 {
            self.folder.put(NAME, b"")?;
        }
        let mut file = OpenOptions::new().read(true).append(true).open(&path)?;
        cut_torn_line(&mut file)?;
        file.write_all(format!("{line}\n").as_bytes())?;
        file.sync_data()
    }
}

fn size_of(path: &Path) -> io::Result<u64> {
    match path.symlink_metadata() {
        Ok(metadata) if metadata.is_file() => Ok(metadata.len()),
        Ok(_) => Err(io::Error::other("the manifest is no plain file")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

/// The last bytes of a file, at most that many.
fn end_of(path: &Path, most: u64) -> io::Result<String> {
    let size = size_of(path)?;
    if size == 0 || most == 0 {
        return Ok(String::new());
    }
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(size.saturating_sub(most)))?;
    let mut end = Vec::new();
    file.take(most).read_to_end(&mut end)?;
    Ok(String::from_utf8_lossy(&end).into_owned())
}

/// Takes back what a crash left of a line.
fn cut_torn_line(file: &mut File) -> io::Result<()> {
    /// Longer than any line.
    const LINE: u64 = 4 << 10;
    let size = file.metadata()?.len();
    let from = size.saturating_sub(LINE);
    file.seek(SeekFrom::Start(from))?;
    let mut end = Vec::new();
    file.take(LINE).read_to_end(&mut end)?;
    let whole = end.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    if whole < end.len() { file.set_len(from + whole as u64) } else { Ok(()) }
}
