//! A rolling upgrade under load: from the previous version to this one, and back.
//!
//! Both are real processes on one NATS and one PostgreSQL. Each service is replaced as Kubernetes does it: the new
//! replica starts, becomes ready and gets what is new, then the old one is told to end. Meanwhile users write, statuses
//! come, and tenants send. It knows only the contract. `cargo xtask upgrade-check` builds both versions and starts it;
//! `docs/upgrade.md` says what it shows, and `docs/decisions/0021-expand-and-contract.md` why it must hold.

mod rollout;

mod commands;
mod webhooks;

mod front;
mod world;

mod check;
mod report;

use std::env;
use std::path::PathBuf;

use anyhow::Context;
use staffetta_locate::{PREVIOUS_VARIABLE, STAFFETTA_VARIABLE};
use tokio::sync::watch;

use crate::report::Report;
use crate::rollout::Rollout;
use crate::world::{Sent, Versions, World};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let versions = Versions {
        old: program(PREVIOUS_VARIABLE, "the previous version's staffetta")?,
        new: program(STAFFETTA_VARIABLE, "this version's staffetta")?,
    };
    let world = World::prepare(&versions.old).await?;
    let mut rollout = Rollout::begin(&world, versions).await?;
    let (sent, looked_at) = watch::channel(Sent::default());
    let load = world.begin_load(looked_at).await?;
    let mut report = Report::default();
    let rolling = async {
        rollout.upgrade(&load, &mut report).await?;
        rollout.go_back(&load, &mut report).await
    };
    tokio::select! {
        rolled = rolling => rolled?,
        never = world.watch_sends(&sent) => match never {},
    }
    let done = load.end().await?;
    println!("{report}");
    let figures = check::all_is_well(&world, &done).await?;
    println!("{figures}");
    rollout.end().await
}

fn program(variable: &str, what: &str) -> anyhow::Result<PathBuf> {
    let named = env::var_os(variable).map(PathBuf::from);
    let named =
        named.with_context(|| format!("{variable} must name {what}: run `cargo xtask upgrade-check`"))?;
    anyhow::ensure!(named.is_file(), "{variable}: {} is not there", named.display());
    Ok(named)
}
