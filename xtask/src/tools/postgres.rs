//! PostgreSQL: what is installed, else Debian's package.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, bail, ensure};
use staffetta_locate::postgres_bin;

use crate::workspace::run;

const APT: &str = "/usr/bin/apt-get";

/// The folder with `initdb` and `postgres`.
pub(super) fn bin() -> anyhow::Result<PathBuf> {
    if let Some(found) = postgres_bin() {
        return Ok(found);
    }
    if !(Path::new(APT).is_file() && is_root()) {
        bail!(
            "PostgreSQL is not installed: install your system's server package (on Debian, as root: \
             apt-get install -y --no-install-recommends postgresql), \
             or let STAFFETTA_POSTGRES_BIN name the folder with initdb and postgres"
        );
    }
    eprintln!("installing PostgreSQL");
    apt(&["update", "-q"])?;
    apt(&["install", "-y", "-q", "--no-install-recommends", "postgresql"])?;
    postgres_bin().context("postgresql is installed, but its initdb and postgres are in no known folder")
}

fn apt(args: &[&str]) -> anyhow::Result<()> {
    let mut command = Command::new(APT);
    command.args(args).env("DEBIAN_FRONTEND", "noninteractive");
    // Standard output is for whoever reads ours.
    let status = run(command.stdin(Stdio::null()).stdout(std::io::stderr()))?;
    ensure!(status.success(), "apt-get {} failed ({status})", args.join(" "));
    Ok(())
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}
