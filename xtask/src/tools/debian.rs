//! What Debian packages: installed, or only unpacked.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{self, Command, Stdio},
};

use anyhow::{Context, bail, ensure};

use super::python_packages::take_place;
use crate::workspace::{Workspace, run};

const APT: &str = "/usr/bin/apt-get";

/// Whether packages can be installed here.
pub(super) fn can_install() -> bool {
    Path::new(APT).is_file() && is_root()
}

/// Installs a package and what it needs.
pub(super) fn install(package: &str) -> anyhow::Result<()> {
    apt(Path::new("/"), &["update", "-q"])?;
    apt(Path::new("/"), &["install", "-y", "-q", "--no-install-recommends", package])
}

/// The folder that a package was unpacked into, without installing it: nothing of it is started, and whoever is not root
/// can have it too. Unpacked where it was not yet.
pub(super) fn unpacked(workspace: &Workspace, package: &str, instead: &str) -> anyhow::Result<PathBuf> {
    let folder = workspace.target().join("tools").join("debian").join(package);
    if folder.is_dir() {
        return Ok(folder);
    }
    if !Path::new(APT).is_file() {
        bail!("no {package}: {instead}");
    }
    eprintln!("fetching Debian's {package}");
    let aside = folder.with_extension(format!("fetch-{}", process::id()));
    fs::create_dir_all(&aside).with_context(|| format!("can't make the folder {}", aside.display()))?;
    let unpacked = unpack(package, &aside);
    if unpacked.is_err() {
        fs::remove_dir_all(&aside)?;
    }
    unpacked.with_context(|| format!("could not fetch Debian's {package}; {instead}"))?;
    take_place(&aside, &folder)?;
    Ok(folder)
}

fn unpack(package: &str, folder: &Path) -> anyhow::Result<()> {
    // A fresh machine has no list of packages yet, which only root may fetch.
    if apt(folder, &["download", "-q", package]).is_err() && is_root() {
        apt(folder, &["update", "-q"])?;
        apt(folder, &["download", "-q", package])?;
    }
    let archive =
        fs::read_dir(folder)?.next().with_context(|| format!("apt-get downloaded no {package}"))??;
    let mut unpack = Command::new("dpkg-deb");
    unpack.arg("-x").arg(archive.path()).arg(folder);
    let status = run(&mut unpack)?;
    ensure!(status.success(), "dpkg-deb failed ({status})");
    Ok(fs::remove_file(archive.path())?)
}

fn apt(folder: &Path, args: &[&str]) -> anyhow::Result<()> {
    let mut command = Command::new(APT);
    command.args(args).current_dir(folder).env("DEBIAN_FRONTEND", "noninteractive");
    // Standard output is for whoever reads ours.
    let status = run(command.stdin(Stdio::null()).stdout(std::io::stderr()))?;
    ensure!(status.success(), "apt-get {} failed ({status})", args.join(" "));
    Ok(())
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}
