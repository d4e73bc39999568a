//! `staffetta rotate-master-key`: every sealed secret sealed anew.

use std::process::ExitCode;

use anyhow::ensure;
use staffetta_bus::RegistryStore;
use staffetta_runtime::Config;

use crate::parts::master_key;
use crate::run::connect;

/// Seals anew with `master_key` what `previous_master_key` sealed, and prints which secrets those are. Fails with 1 where
/// a secret is left that neither opens.
pub(crate) async fn run(config: &Config) -> anyhow::Result<ExitCode> {
    ensure!(config.master_key.is_some(), "master_key is not set: it is the key to seal with");
    let bus = connect(config, "staffetta rotate-master-key").await?;
    let store = RegistryStore::open(&bus, master_key(config)).await?;
    let rotation = store.rotate().await?;
    for place in &rotation.sealed_anew {
        println!("~ {place}");
    }
    println!("{} sealed anew, {} had been before", rotation.sealed_anew.len(), rotation.current);
    if rotation.unopened.is_empty() {
        println!("nothing needs previous_master_key any more");
        return Ok(ExitCode::SUCCESS);
    }
    for problem in &rotation.unopened {
        eprintln!("error: {problem}");
    }
    Ok(ExitCode::FAILURE)
}
