//! A folder that an ERP's own service reads and writes: events as files, and commands as files.
//!
//! Everything in it may be changed by somebody else at any moment, and what stands in it is a tenant's: names and
//! contents are not logged. Whatever is written is written aside and renamed, so that nobody reads half of it.

mod events;
mod folder;
mod inbox;
mod manifest;
mod pickup;

#[cfg(test)]
mod tests;

pub(crate) use events::{write, write_again};
pub(crate) use pickup::Pickup;
