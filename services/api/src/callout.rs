//! Tenants that connect to NATS themselves: the server asks this service who they are.

use anyhow::Context;
use opentelemetry::KeyValue;
use staffetta_bus::{Bus, Callout, CalloutOutcome, RegistryView};
use staffetta_runtime::config::CalloutConfig;
use staffetta_runtime::telemetry::meter;
use tokio_util::sync::CancellationToken;

/// Answers the NATS server's questions about connections. Any number of processes share them.
#[derive(Debug)]
pub struct NatsCallout(Callout);

impl NatsCallout {
    /// `None` where the configuration lets no tenants in.
    ///
    /// # Errors
    /// Names the seed that is not of its kind.
    pub fn new(config: &CalloutConfig, bus: Bus, registry: RegistryView) -> anyhow::Result<Option<Self>> {
        let Some(issuer) = &config.issuer_seed else { return Ok(None) };
        let callout = Callout::new(bus, registry, issuer, config.xkey_seed.as_ref(), &config.account)?;
        Ok(Some(Self(callout)))
    }

    /// Answers until `stop`.
    ///
    /// # Errors
    /// If NATS ends the subscription.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let callouts = meter()
            .u64_counter("staffetta.api.callouts")
            .with_description("Questions of NATS about who connects, by outcome")
            .build();
        let count = move |outcome| {
            let outcome = match outcome {
                CalloutOutcome::Allowed => "allowed",
                CalloutOutcome::Refused => "refused",
                CalloutOutcome::Invalid => "invalid",
            };
            callouts.add(1, &[KeyValue::new("outcome", outcome)]);
        };
        self.0.run(count, stop).await.context("answering NATS' questions about tenants")
    }
}
