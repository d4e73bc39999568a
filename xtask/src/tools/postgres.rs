//! PostgreSQL: what is installed, else Debian's package.

use std::path::PathBuf;

use anyhow::{Context, ensure};
use staffetta_locate::postgres_bin;

use super::debian;

/// The folder with `initdb` and `postgres`.
pub(super) fn bin() -> anyhow::Result<PathBuf> {
    if let Some(found) = postgres_bin() {
        return Ok(found);
    }
    ensure!(
        debian::can_install(),
        "PostgreSQL is not installed: install your system's server package (on Debian, as root: \
         apt-get install -y --no-install-recommends postgresql), \
         or let STAFFETTA_POSTGRES_BIN name the folder with initdb and postgres"
    );
    eprintln!("installing PostgreSQL");
    debian::install("postgresql")?;
    postgres_bin().context("postgresql is installed, but its initdb and postgres are in no known folder")
}
