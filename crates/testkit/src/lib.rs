//! What the tests of every package stand on: real servers on ports they pick, faults on the way to them, and a way to
//! wait for a state.
//!
//! Whatever is started here ends with the test process, even when that is killed, and leaves nothing on disk.
//! `STAFFETTA_TEST_KEEP=1` keeps each server's folder, with its log.

mod company;
mod lateness;
mod nats;
mod port;
mod postgres;
mod process;
mod proxy;
mod until;

use std::{env, path::PathBuf};

use anyhow::Context;

pub use self::{
    company::Company,
    lateness::Lateness,
    nats::{NatsOptions, NatsServer, NatsSync},
    port::HeldPort,
    postgres::{Database, Postgres},
    process::{Process, Signal},
    proxy::FaultProxy,
    until::until,
};

/// The built `staffetta`, to be run as a process of its own.
///
/// # Errors
///
/// When it isn't built and `STAFFETTA_BIN` doesn't name one.
pub fn staffetta_binary() -> anyhow::Result<PathBuf> {
    staffetta_locate::staffetta(&test_binary()?)
        .context("no built staffetta: run `cargo build`, or let STAFFETTA_BIN name one")
}

/// The running test, which lies somewhere below the target folder.
fn test_binary() -> anyhow::Result<PathBuf> {
    env::current_exe().context("can't tell where this test's own binary is")
}
