//! What providers say and hear: their JSON and their HTTP, known nowhere else.

pub mod cloud_api;
pub mod graph;
mod measure;
pub mod webhook;
