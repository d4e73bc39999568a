//! Command files: which are there, what stands in them, and where they go.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, DirEntry, File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use aws_lc_rs::digest;

use super::folder::{ASIDE, Folder};

/// Most files that are looked at in one go.
pub(super) const AT_A_TIME: usize = 1_000;
/// Most names that are sorted in one go.
const MOST_NAMES: usize = 50_000;
/// Largest command file, in bytes: as the API's largest body.
const LARGEST: u64 = 1 << 20;
/// A file that was written this long ago is whole: whoever writes in place is done with it.
const QUIET: Duration = Duration::from_millis(500);
/// How long a file may end in the middle before it is taken for what it is.
const GROWING: Duration = Duration::from_secs(30);
/// How long files are kept that nobody needs any more.
const KEPT: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// How long a file may be in the making.
const MAKING: Duration = Duration::from_secs(24 * 60 * 60);
/// Longest name of a result that is the file's own, in bytes: file systems take 255.
const LONGEST_NAME: usize = 200;
const UNREADABLE: &str = "can't be read: whoever wrote it keeps it to itself";
/// Most files that are removed in one go.
const REMOVED: usize = 1_000;

/// The folders of one endpoint that have to do with commands.
#[derive(Clone, Debug)]
pub(super) struct Inbox {
    commands: Folder,
    results: Folder,
    done: Folder,
    bad: Folder,
}

/// A command file.
#[derive(Clone, Debug)]
pub(super) struct CommandFile {
    /// Its name, with `.json`.
    pub(super) name: OsString,
    /// When it was last written.
    pub(super) modified: SystemTime,
    size: u64,
    inode: u64,
    is_plain: bool,
}

/// What stands in a command file.
#[derive(Debug)]
pub(super) enum Content {
    Whole(Vec<u8>),
    /// It ends in the middle, and is perhaps still being written.
    Growing,
    /// It can't be a command; why, for people.
    Wrong(&'static str),
    /// It went while it was looked at.
    Gone,
}

/// What became of a command file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Done,
    Bad,
}

impl CommandFile {
    /// Whether somebody may still be at it.
    fn is_young(&self) -> bool {
        self.modified.elapsed().is_ok_and(|age| age < GROWING)
    }
}

impl Inbox {
    pub(super) fn open(root: &Path, path: &Path) -> io::Result<Self> {
        let folder = Folder::open(root, path)?;
        Ok(Self {
            commands: folder.sub("commands")?,
            results: folder.sub("results")?,
            done: folder.sub("done")?,
            bad: folder.sub("bad")?,
        })
    }

    /// The command files that are there, by name.
    pub(super) fn list(&self) -> io::Result<Vec<CommandFile>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.commands.path())?.take(MOST_NAMES) {
            let name = entry?.file_name();
            if is_command(&name) {
                names.push(name);
            }
        }
        names.sort();
        names.truncate(AT_A_TIME);
        Ok(names.into_iter().filter_map(|name| self.look_at(name)).collect())
    }

    /// `None` if it is gone.
    fn look_at(&self, name: OsString) -> Option<CommandFile> {
        let metadata = self.commands.file(&name).symlink_metadata().ok()?;
        let modified = metadata.modified().ok()?;
        let (size, inode, is_plain) = (metadata.len(), metadata.ino(), metadata.is_file());
        Some(CommandFile { name, modified, size, inode, is_plain })
    }

    /// What stands in a file.
    pub(super) fn read(&self, file: &CommandFile) -> io::Result<Content> {
        if !file.is_plain {
            return Ok(Content::Wrong("is no plain file"));
        }
        if file.size > LARGEST {
            return Ok(Content::Wrong("may have 1 MiB at most"));
        }
        let opened = match File::open(self.commands.file(&file.name)) {
            Ok(opened) => opened,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Content::Gone),
            // One file that is not meant for us must not keep those behind it from being taken.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Ok(if file.is_young() { Content::Growing } else { Content::Wrong(UNREADABLE) });
            }
            Err(error) => return Err(error),
        };
        // Another one under the same name since, perhaps one that leads elsewhere: that is for the next look.
        if opened.metadata()?.ino() != file.inode {
            return Ok(Content::Growing);
        }
        let mut content = Vec::new();
        opened.take(LARGEST + 1).read_to_end(&mut content)?;
        if content.len() as u64 != file.size {
            return Ok(Content::Growing);
        }
        let ends_early =
            serde_json::from_slice::<serde::de::IgnoredAny>(&content).is_err_and(|error| error.is_eof());
        Ok(if ends_early && file.is_young() { Content::Growing } else { Content::Whole(content) })
    }

    /// Writes the result of a file and moves it to where it belongs. A repeat changes nothing.
    pub(super) fn finish(&self, name: &OsStr, verdict: Verdict, result: &[u8]) -> io::Result<()> {
        let shown = shown(name);
        self.results.put(&shown, result)?;
        let folder = match verdict {
            Verdict::Done => &self.done,
            Verdict::Bad => {
                let stem = shown.strip_suffix(".json").unwrap_or(&shown);
                self.bad.put(&format!("{stem}.reason.json"), result)?;
                &self.bad
            }
        };
        match fs::rename(self.commands.file(name), folder.file(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Removes what is long done with: commands and their results after 30 days, and what a crash left unfinished
    /// after one.
    pub(super) fn tidy(&self, now: SystemTime) -> io::Result<()> {
        let is_left = |entry: &DirEntry| entry.file_name().to_string_lossy().starts_with(ASIDE);
        for folder in [&self.results, &self.done, &self.bad] {
            let is_old = |entry: &DirEntry, metadata: &Metadata| {
                older(metadata, now) > if is_left(entry) { MAKING } else { KEPT }
            };
            let old = fs::read_dir(folder.path())?.filter_map(Result::ok).filter(|entry| {
                entry.metadata().is_ok_and(|metadata| !metadata.is_dir() && is_old(entry, &metadata))
            });
            for entry in old.take(REMOVED) {
                match fs::remove_file(entry.path()) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

/// Since when a file is where it is: a move does not change when it was written.
fn older(metadata: &Metadata, now: SystemTime) -> Duration {
    let moved = Duration::from_secs(u64::try_from(metadata.ctime()).unwrap_or(0));
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    now.saturating_sub(moved)
}

/// What a file's result is called: as the file, but for names so long that nothing fits before or behind them.
fn shown(name: &OsStr) -> String {
    let shown = name.to_string_lossy();
    if shown.len() <= LONGEST_NAME {
        return shown.into_owned();
    }
    let digest = hex::encode(&digest::digest(&digest::SHA256, name.as_bytes()).as_ref()[..8]);
    format!("{}-{digest}.json", &shown[..shown.floor_char_boundary(100)])
}

/// Files that are being written bear other names.
fn is_command(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    name.ends_with(".json") && !name.starts_with('.')
}

/// Which files have come to rest, by what was seen of them before.
#[derive(Debug, Default)]
pub(super) struct Watch {
    seen: HashMap<OsString, (u64, SystemTime, Instant)>,
}

impl Watch {
    /// Of these files, those that can be taken. The clock of a file server need not be ours: where a file seems to come
    /// from the future, it is taken if it has not changed since an earlier look.
    pub(super) fn ready(
        &mut self,
        files: Vec<CommandFile>,
        now: SystemTime,
        at: Instant,
    ) -> Vec<CommandFile> {
        let mut before = std::mem::take(&mut self.seen);
        files
            .into_iter()
            .filter(|file| {
                if now.duration_since(file.modified).is_ok_and(|age| age >= QUIET) {
                    return true;
                }
                let (size, modified, since) =
                    before.remove(&file.name).unwrap_or((file.size, file.modified, at));
                let is_same = size == file.size && modified == file.modified;
                let since = if is_same { since } else { at };
                self.seen.insert(file.name.clone(), (file.size, file.modified, since));
                at.duration_since(since) >= QUIET
            })
            .collect()
    }
}
