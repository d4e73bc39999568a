//! What the fuzz target of the webhook parser is made of: what must hold for each body, and how one body becomes
//! another that gets further than random bytes would.

#[path = "../../tests/support/dress.rs"]
mod dress;
mod mutate;
#[path = "../../tests/support/oracle.rs"]
mod oracle;

pub use mutate::mutate;

/// Panics if the body is not taken apart as any body has to be.
pub fn check(body: &[u8]) {
    oracle::check(body);
}
