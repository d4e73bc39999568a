//! The Python packages of `tests/clients`: a client of Meta's Cloud API that nobody here wrote.

use std::{env, fs, path::PathBuf, process};

use anyhow::Context;
use staffetta_locate::{GRAPH_CLIENT_VARIABLE, fetched_graph_client};

use super::wheel::python;
use crate::workspace::Workspace;

/// What is installed, each with its hash.
const REQUIREMENTS: &str = "tests/clients/requirements.txt";

/// The folder with the packages; filled where it is not, or holds others than are asked for now.
pub(super) fn packages(workspace: &Workspace) -> anyhow::Result<PathBuf> {
    if let Some(named) = env::var_os(GRAPH_CLIENT_VARIABLE) {
        return Ok(named.into());
    }
    let requirements = workspace.root().join(REQUIREMENTS);
    let wanted = fs::read(&requirements).with_context(|| format!("can't read {REQUIREMENTS}"))?;
    let folder = fetched_graph_client(workspace.target());
    // The last file to be written: where it says the same, the rest is there.
    let installed = "requirements.txt";
    if fs::read(folder.join(installed)).is_ok_and(|found| found == wanted) {
        return Ok(folder);
    }
    eprintln!("fetching what {REQUIREMENTS} names");
    let aside = folder.with_extension(format!("fetch-{}", process::id()));
    let filled = python(|pip| {
        pip.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--root-user-action=ignore",
        ])
        .args(["--no-deps", "--only-binary=:all:", "--require-hashes", "--target"])
        .arg(&aside)
        .arg("-r")
        .arg(&requirements);
    });
    if filled.is_err() {
        let _ = fs::remove_dir_all(&aside); // pip may not even have made it
    }
    filled.with_context(|| {
        format!("could not fetch what {REQUIREMENTS} names with pip; let {GRAPH_CLIENT_VARIABLE} name a folder with it")
    })?;
    fs::write(aside.join(installed), &wanted)?;
    // Someone else may have been quicker, with the same packages.
    let _ = fs::remove_dir_all(&folder);
    if fs::rename(&aside, &folder).is_err() {
        fs::remove_dir_all(&aside).with_context(|| format!("can't remove the folder {}", aside.display()))?;
    }
    Ok(folder)
}
