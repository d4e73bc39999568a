//! The wire format of every stream: the messages of `proto/staffetta/v1`, and their JSON.

pub mod json;

/// The messages of `staffetta/v1/*.proto`.
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/staffetta.v1.rs"));
}

pub use prost::Message;
