//! The Cloud API's own addresses, and what is the provider's: media, templates, numbers. The simulator is the provider.

mod files;
mod marks;
mod provider;
mod sending;
mod walls;
mod world;
