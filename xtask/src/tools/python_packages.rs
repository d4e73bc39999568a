//! Python packages, as a file of pinned versions with their hashes names them.

use std::{
    fs,
    path::{Path, PathBuf},
    process,
};

use anyhow::Context;

use super::wheel::python;
use crate::workspace::Workspace;

/// Fills the folder with what `requirements` (a path in the workspace) names, unless it holds just that already.
///
/// Afterwards the folder can stand in `PYTHONPATH`. What `instead` says is part of the error where pip fails.
pub(super) fn fill(
    workspace: &Workspace,
    requirements: &str,
    folder: PathBuf,
    instead: &str,
) -> anyhow::Result<PathBuf> {
    let file = workspace.root().join(requirements);
    let wanted = fs::read(&file).with_context(|| format!("can't read {requirements}"))?;
    // The last file to be written: where it says the same, the rest is there.
    let installed = "requirements.txt";
    if fs::read(folder.join(installed)).is_ok_and(|found| found == wanted) {
        return Ok(folder);
    }
    eprintln!("fetching what {requirements} names");
    let aside = folder.with_extension(format!("fetch-{}", process::id()));
    let filled = install(&file, &aside);
    if filled.is_err() {
        let _ = fs::remove_dir_all(&aside); // pip may not even have made it
    }
    filled.with_context(|| format!("could not fetch what {requirements} names with pip; {instead}"))?;
    fs::write(aside.join(installed), &wanted)?;
    take_place(&aside, &folder)?;
    Ok(folder)
}

fn install(requirements: &Path, folder: &Path) -> anyhow::Result<()> {
    python(|pip| {
        pip.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--root-user-action=ignore",
        ])
        .args(["--no-deps", "--only-binary=:all:", "--require-hashes", "--target"])
        .arg(folder)
        .arg("-r")
        .arg(requirements);
    })
}

/// Puts a folder where another may be, which is an older one, or the same by someone who was quicker.
pub(super) fn take_place(aside: &Path, folder: &Path) -> anyhow::Result<()> {
    let _ = fs::remove_dir_all(folder);
    if fs::rename(aside, folder).is_err() {
        fs::remove_dir_all(aside).with_context(|| format!("can't remove the folder {}", aside.display()))?;
    }
    Ok(())
}
