//! Ports for processes that are told theirs before they start.

use std::sync::{Mutex, PoisonError};

use anyhow::Context;
use staffetta_testkit::HeldPort;

/// What this process has given away. Who has a port does not listen on it all the time, and nobody else is to take it
/// meanwhile.
static GIVEN: Mutex<Vec<HeldPort>> = Mutex::new(Vec::new());

/// A port on 127.0.0.1 that nobody listens on: the caller's own until this process ends.
///
/// # Errors
/// When all are taken.
pub fn free_port() -> anyhow::Result<u16> {
    let held = HeldPort::pick().context("no free port")?;
    let port = held.number();
    GIVEN.lock().unwrap_or_else(PoisonError::into_inner).push(held);
    Ok(port)
}
