//! `staffetta apply`: files into the registry.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use staffetta_bus::{RegistryFile, RegistryStore, Unnamed};
use staffetta_runtime::Config;

use crate::parts::master_key;
use crate::run::{connect, retention};

/// What to apply, and how.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// A registry file; may be given more than once.
    #[arg(short, long = "file", required = true, value_name = "FILE")]
    file: Vec<PathBuf>,
    /// Say what would change, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Delete the entries that no file names.
    #[arg(long)]
    prune: bool,
}

/// Makes the registry hold what the files say, and prints what changed.
pub(crate) async fn run(arguments: Arguments, config: &Config) -> anyhow::Result<ExitCode> {
    let mut files = Vec::new();
    for path in &arguments.file {
        let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        files.push(RegistryFile::parse(&text).with_context(|| path.display().to_string())?);
    }
    let bus = connect(config, "staffetta apply").await?;
    let store = match RegistryStore::open(&bus, master_key(config)).await {
        Ok(store) => store,
        // The first step of an installation. Where the streams are, they are left as their services made them.
        Err(_) => {
            bus.set_up_streams(&retention(config)).await?;
            RegistryStore::open(&bus, master_key(config)).await?
        }
    };
    let unnamed = if arguments.prune { Unnamed::Delete } else { Unnamed::Keep };
    let plan = store.plan(files, unnamed).await?;
    let changes: Vec<String> = plan.changes().map(ToString::to_string).collect();
    if !arguments.dry_run {
        store.apply(plan).await?;
    }
    for change in &changes {
        println!("{change}");
    }
    match (changes.len(), arguments.dry_run) {
        (0, _) => println!("nothing to change"),
        (count, true) => println!("{count} would change (dry run)"),
        (count, false) => println!("{count} changed"),
    }
    Ok(ExitCode::SUCCESS)
}
