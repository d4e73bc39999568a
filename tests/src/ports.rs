//! Ports for processes that are told theirs before they start.

use std::net::{Ipv4Addr, TcpListener};
use std::process;
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::bail;

/// Below the ports that a system gives to connections and to whoever asks for any: only an equal of this test takes
/// one of them.
const FIRST: u16 = 15_000;
const COUNT: u16 = 15_000;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// A port on 127.0.0.1 that nobody listens on, given to one caller of this process only.
///
/// # Errors
/// When all are taken.
pub fn free_port() -> anyhow::Result<u16> {
    // Test processes that run side by side begin at different places.
    let start = u16::try_from(u64::from(process::id()) * 97 % u64::from(COUNT))?;
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed) % COUNT;
        let port = FIRST + (start + step) % COUNT;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port from {FIRST} to {}", FIRST + COUNT)
}
