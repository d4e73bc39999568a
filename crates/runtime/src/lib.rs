//! What every service's process needs: configuration, a life that ends well, an HTTP edge, telemetry, retries.

pub mod certificate;
pub mod config;
pub mod crash;
pub mod health;
pub mod http;
pub mod lifecycle;
pub mod retry;
pub mod telemetry;
pub mod trace;

pub use config::Config;
pub use health::Health;
pub use lifecycle::{Lifecycle, Task};
pub use retry::RetryPolicy;
