//! `staffetta hold lift`.

use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use staffetta_domain::{ChannelId, TenantId};
use staffetta_store::Store;

/// Which hold to lift.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The channel, as `staffetta hold list` shows it.
    channel: ChannelId,
    /// The tenant whose channel it is, where more than one has had it.
    #[arg(long)]
    tenant: Option<TenantId>,
}

/// The dispatcher looks for lifted holds every other second: nobody is told from here.
pub(super) async fn run(arguments: &Arguments, store: &Store) -> anyhow::Result<ExitCode> {
    let Arguments { channel, tenant } = arguments;
    let mut holds = store.holds(tenant.as_ref()).await.context("reading the holds")?;
    holds.retain(|hold| hold.channel == *channel);
    if holds.is_empty() {
        match tenant {
            Some(tenant) => bail!("no channel {channel} of {tenant} is on hold"),
            None => bail!("no channel {channel} is on hold"),
        }
    }
    for hold in &holds {
        let lifted = store.lift_hold(&hold.tenant, channel).await;
        let outcome = match lifted.with_context(|| format!("lifting the hold of {channel}"))? {
            true => "it tries again within seconds",
            false => "somebody else was faster",
        };
        println!("lifted: {} {channel} ({} {}): {outcome}", hold.tenant, hold.class, hold.code);
    }
    Ok(ExitCode::SUCCESS)
}
