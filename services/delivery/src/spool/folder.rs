//! The folder itself: where it may lie, and how files get into it.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::path::{Component, Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

/// Where an endpoint's files lie: below the operator's root, with no link on the way.
#[derive(Clone, Debug)]
pub(super) struct Folder(PathBuf);

const OUTSIDE: &str = "the folder does not lie in delivery.spool_root";
const LINKED: &str = "a folder of the spool is a link, or no folder";

impl Folder {
    /// The folder of that path, made if it is missing.
    ///
    /// # Errors
    /// If it does not lie below the root once every link is followed, or can't be had.
    pub(super) fn open(root: &Path, path: &Path) -> io::Result<Self> {
        let below = path.strip_prefix(root).map_err(|_| io::Error::other(OUTSIDE))?;
        // The operator's own folder may be a link; what tenants can write in may not.
        let mut folder = Self(root.canonicalize()?);
        let mut depth = 0;
        for part in below.components() {
            let Component::Normal(name) = part else { return Err(io::Error::other(OUTSIDE)) };
            folder = folder.sub_folder(Path::new(name))?;
            depth += 1;
        }
        if depth == 0 { Err(io::Error::other(OUTSIDE)) } else { Ok(folder) }
    }

    /// The folder of that name in this one, made if it is missing. A link is none, wherever it leads.
    pub(super) fn sub(&self, name: &str) -> io::Result<Self> {
        self.sub_folder(Path::new(name))
    }

    fn sub_folder(&self, name: &Path) -> io::Result<Self> {
        let path = self.0.join(name);
        let made = match fs::create_dir(&path) {
            Ok(()) => sync(&self.0),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error),
        };
        made?;
        if path.symlink_metadata()?.is_dir() && path.canonicalize()? == path {
            Ok(Self(path))
        } else {
            Err(io::Error::other(LINKED))
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn file(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.join(name)
    }

    /// Puts a file of that content under that name, in place of what stood there. Once this returns, it is on the disk.
    pub(super) fn put(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let aside = self.file(format!("{ASIDE}{name}"));
        // What a crash left there, or somebody made to lead elsewhere.
        match fs::remove_file(&aside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = File::create_new(&aside)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&aside, self.file(name))?;
        sync(&self.0)
    }

    /// Keeps others that do the same out, for as long as what it gives lives. A file system without locks has none.
    ///
    /// # Errors
    /// If another one holds it for a second.
    pub(super) fn lock(&self) -> io::Result<File> {
        let file = File::open(&self.0)?;
        for _ in 0..LOOKS {
            match file.try_lock() {
                Err(TryLockError::WouldBlock) => sleep(PAUSE),
                Ok(()) | Err(TryLockError::Error(_)) => return Ok(file),
            }
        }
        Err(io::ErrorKind::WouldBlock.into())
    }
}

/// Pause between two looks at a lock, and how often it is looked at.
const PAUSE: Duration = Duration::from_millis(5);
const LOOKS: u32 = 200;

/// What the names of files begin with that are being written.
pub(super) const ASIDE: &str = ".tmp-";

/// Brings a folder's names to the disk, where its file system knows how.
pub(super) fn sync(folder: &Path) -> io::Result<()> {
    match File::open(folder)?.sync_all() {
        Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => {
            Ok(())
        }
        done => done,
    }
}
