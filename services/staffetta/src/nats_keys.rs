//! `staffetta nats-keys`: fresh keys for tenants on NATS.

use std::process::ExitCode;

use anyhow::Context;
use secrecy::ExposeSecret;
use staffetta_bus::CalloutKeys;

/// Prints a fresh pair of keys: what the NATS server's configuration gets, and what Staffetta's gets.
pub(crate) fn run() -> anyhow::Result<ExitCode> {
    let keys = CalloutKeys::fresh().context("making keys")?;
    println!("# For the NATS server: authorization.auth_callout, see deploy/nats/tenants.conf");
    println!("issuer: {}", keys.issuer);
    println!("xkey: {}", keys.xkey);
    println!();
    println!("# For Staffetta. Secret: whoever has them may let anybody in");
    println!("[nats.callout]");
    println!("issuer_seed = \"{}\"", keys.issuer_seed.expose_secret());
    println!("xkey_seed = \"{}\"", keys.xkey_seed.expose_secret());
    Ok(ExitCode::SUCCESS)
}
