//! Ports for processes that are told theirs before they start.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::process;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::bail;

/// Below the ports that a system gives to connections and to whoever asks for any: only an equal of this test takes
/// one of them.
const FIRST: u16 = 15_000;
const COUNT: u16 = 15_000;

static NEXT: AtomicU16 = AtomicU16::new(0);
/// What this process has given away: the UDP port of the same number is kept until the process ends. Who has a port
/// does not listen on it all the time, and a test process beside this one is not to take it meanwhile.
static GIVEN: Mutex<Vec<UdpSocket>> = Mutex::new(Vec::new());

/// A port on 127.0.0.1 that nobody listens on, given to one caller of all test processes only.
///
/// # Errors
/// When all are taken.
pub fn free_port() -> anyhow::Result<u16> {
    // Test processes that run side by side begin at different places.
    let start = u16::try_from(u64::from(process::id()) * 97 % u64::from(COUNT))?;
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed) % COUNT;
        let port = FIRST + (start + step) % COUNT;
        let Ok(mark) = UdpSocket::bind((Ipv4Addr::LOCALHOST, port)) else { continue };
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            GIVEN.lock().unwrap_or_else(PoisonError::into_inner).push(mark);
            return Ok(port);
        }
    }
    bail!("no free port from {FIRST} to {}", FIRST + COUNT)
}
