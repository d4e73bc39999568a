//! `staffetta export`: the registry as a file.

use std::io::{self, Write as _};
use std::process::ExitCode;

use staffetta_bus::RegistryStore;
use staffetta_runtime::Config;

use crate::parts::master_key;
use crate::run::connect;
use crate::terminal::is_broken_pipe;

/// Prints a registry file that `staffetta apply` takes: here, or where the same master key is set.
pub(crate) async fn run(config: &Config) -> anyhow::Result<ExitCode> {
    let bus = connect(config, "staffetta export").await?;
    let store = RegistryStore::open(&bus, master_key(config)).await?;
    let text = store.export().await?;
    match io::stdout().lock().write_all(text.as_bytes()).map_err(Into::into) {
        Err(error) if is_broken_pipe(&error) => Ok(ExitCode::SUCCESS),
        outcome => outcome.map(|()| ExitCode::SUCCESS),
    }
}
