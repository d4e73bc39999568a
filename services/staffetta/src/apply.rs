//! `staffetta apply`: files into the registry.

use std::ffi::OsStr;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, ensure};
use clap::Args;
use staffetta_bus::{Change, NumberClaim, RegistryError, RegistryFile, RegistryStore, Unnamed};
use staffetta_runtime::Config;

use crate::parts::master_key;
use crate::run::{connect, set_up_streams};
use crate::terminal::{is_broken_pipe, printable};

/// What to apply, and how.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// A registry file, a folder whose *.toml are read in the order of their names, or - for standard input; may be
    /// given more than once.
    #[arg(short, long = "file", required = true, value_name = "FILE")]
    file: Vec<PathBuf>,
    /// Say what would change, field by field, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Delete the entries that no file names.
    #[arg(long)]
    prune: bool,
}

/// Makes the registry hold what the files say, and prints what changed.
pub(crate) async fn run(arguments: Arguments, config: &Config) -> anyhow::Result<ExitCode> {
    let files = read(&arguments.file)?;
    let bus = connect(config, "staffetta apply").await?;
    let store = match RegistryStore::open(&bus, master_key(config)).await {
        Ok(store) => store,
        // The first step of an installation. Where the streams are, they are left as their services made them.
        Err(_) => {
            set_up_streams(config, &bus).await?;
            RegistryStore::open(&bus, master_key(config)).await?
        }
    };
    let unnamed = if arguments.prune { Unnamed::Delete } else { Unnamed::Keep };
    let plan = store.plan(files, unnamed).await?;
    let changes: Vec<Change> = plan.changes().cloned().collect();
    let claims = plan.claims().to_vec();
    let told = if arguments.dry_run {
        tell_dry_run(&changes, &claims)
    } else {
        match store.apply(plan).await {
            Ok(()) => tell(&changes, &claims),
            Err(RegistryError::Partly { done, all, reason }) => {
                tell(&changes[..done], &[])?;
                return Err(RegistryError::Partly { done, all, reason }.into());
            }
            Err(error) => return Err(error.into()),
        }
    };
    match told {
        Err(error) if is_broken_pipe(&error) => Ok(ExitCode::SUCCESS),
        told => told.map(|()| ExitCode::SUCCESS),
    }
}

fn read(paths: &[PathBuf]) -> anyhow::Result<Vec<RegistryFile>> {
    let mut files = Vec::new();
    for path in paths {
        if path == Path::new("-") {
            let mut text = String::new();
            io::stdin().read_to_string(&mut text).context("reading standard input")?;
            files.push(RegistryFile::parse_named("standard input", &text)?);
            continue;
        }
        for path in in_folder(path)? {
            let name = path.display().to_string();
            let text = std::fs::read_to_string(&path).with_context(|| format!("reading {name}"))?;
            files.push(RegistryFile::parse_named(&name, &text)?);
        }
    }
    Ok(files)
}

/// The file itself, or the registry files of a folder.
fn in_folder(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let name = path.display();
    let mut files = Vec::new();
    for file in path.read_dir().with_context(|| format!("reading {name}"))? {
        let file = file.with_context(|| format!("reading {name}"))?.path();
        if file.extension() == Some(OsStr::new("toml")) {
            files.push(file);
        }
    }
    ensure!(!files.is_empty(), "{name} holds no file that ends in .toml");
    files.sort();
    Ok(files)
}

fn tell(changes: &[Change], claims: &[NumberClaim]) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    for change in changes {
        writeln!(out, "{change}")?;
    }
    for claim in claims {
        writeln!(out, "{claim}")?;
    }
    match changes.len() {
        0 => writeln!(out, "nothing to change")?,
        count => writeln!(out, "{count} changed")?,
    }
    Ok(())
}

fn tell_dry_run(changes: &[Change], claims: &[NumberClaim]) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    for change in changes {
        writeln!(out, "{change}")?;
        for field in change.fields() {
            writeln!(out, "    {}", printable(&field.to_string()))?;
        }
    }
    for claim in claims {
        writeln!(out, "{claim}")?;
    }
    match changes.len() {
        0 => writeln!(out, "nothing to change")?,
        count => writeln!(out, "{count} would change (dry run)")?,
    }
    Ok(())
}
