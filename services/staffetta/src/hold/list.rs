//! `staffetta hold list`.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use serde_json::json;
use staffetta_domain::TenantId;
use staffetta_store::{ChannelHold, Store};

use crate::terminal::columns;

/// Which holds to list, and how.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Of this tenant's channels alone.
    #[arg(long)]
    tenant: Option<TenantId>,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(arguments: &Arguments, store: &Store) -> anyhow::Result<ExitCode> {
    let holds = store.holds(arguments.tenant.as_ref()).await.context("reading the holds")?;
    let mut out = io::stdout().lock();
    if arguments.json {
        for hold in &holds {
            writeln!(out, "{}", entry(hold))?;
        }
    } else if holds.is_empty() {
        eprintln!("no channel is on hold");
    } else {
        out.write_all(table(&holds).as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn entry(hold: &ChannelHold) -> serde_json::Value {
    json!({
        "tenant": hold.tenant.as_str(),
        "channel": hold.channel.as_str(),
        "class": hold.class,
        "code": hold.code,
        "reason": hold.reason,
        "since": hold.since.to_string(),
    })
}

fn table(holds: &[ChannelHold]) -> String {
    let mut rows = vec![["TENANT", "CHANNEL", "SINCE", "CLASS", "CODE", "REASON"].map(str::to_owned)];
    rows.extend(holds.iter().map(|hold| {
        [
            hold.tenant.to_string(),
            hold.channel.to_string(),
            format!("{:.0}", hold.since),
            hold.class.clone(),
            hold.code.to_string(),
            hold.reason.clone(),
        ]
    }));
    columns(&rows)
}
