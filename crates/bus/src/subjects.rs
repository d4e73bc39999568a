//! The subjects of the contract.

use staffetta_domain::{ChannelId, EndpointId, Event, Lane, TenantId};

/// All of WEBHOOKS.
pub(crate) const WEBHOOKS: &str = "staffetta.v1.webhook.*";
/// All of SEND.
pub(crate) const SEND: &str = "staffetta.v1.send.*.*.*";
/// All of EVENTS.
pub(crate) const EVENTS: &str = "staffetta.v1.event.*.*.*";
/// All of DEAD.
pub(crate) const DEAD: &str = "staffetta.v1.dead.*.*.*";
/// Where the headers of each stored command are told again, to wake its channel's owner. Not for tenants.
pub(crate) const WAKE: &str = "staffetta.v1.wake.>";

/// Where the headers of each stored event are told again, to wake whoever delivers it. Not for tenants.
pub(crate) const TOLD: &str = "staffetta.v1.told.>";

/// What the names of those consumers begin with.
const NATS_ENDPOINT: &str = "endpoint-";

/// Where ingress publishes envelopes of that shard.
pub fn webhook_subject(shard: u32) -> String {
    format!("staffetta.v1.webhook.{shard}")
}

/// The durable consumer of EVENTS that keeps the place of an endpoint of kind `nats`.
pub fn nats_endpoint_consumer(endpoint: &EndpointId) -> String {
    format!("{NATS_ENDPOINT}{endpoint}")
}

/// The endpoint whose place a consumer of that name keeps; `None` if it keeps none's.
pub fn nats_consumer_endpoint(name: &str) -> Option<EndpointId> {
    name.strip_prefix(NATS_ENDPOINT)?.parse().ok()
}

/// Where an event is announced.
pub fn event_subject(event: &Event) -> String {
    format!("staffetta.v1.event.{}.{}.{}", event.tenant, event.channel, event.kind.kind())
}

/// Where a dead letter goes. `none` stands for a tenant or a channel that is not known.
pub fn dead_subject(service: &str, tenant: Option<&TenantId>, channel: Option<&ChannelId>) -> String {
    let tenant = tenant.map_or("none", TenantId::as_str);
    let channel = channel.map_or("none", ChannelId::as_str);
    format!("staffetta.v1.dead.{service}.{tenant}.{channel}")
}

/// `staffetta.v1.send.<tenant>.<channel>.<lane>`: one lane of one channel.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SendSubject {
    /// Who publishes there.
    pub tenant: TenantId,
    /// The number that sends.
    pub channel: ChannelId,
    /// How urgent it is.
    pub lane: Lane,
}

impl SendSubject {
    /// The subject's text.
    pub fn subject(&self) -> String {
        format!("staffetta.v1.send.{}.{}.{}", self.tenant, self.channel, self.lane)
    }

    /// Reads the subject of a command, or of the wake-up that belongs to one; `None` for any other.
    pub fn parse(subject: &str) -> Option<Self> {
        let rest = subject
            .strip_prefix("staffetta.v1.send.")
            .or_else(|| subject.strip_prefix("staffetta.v1.wake."))?;
        let mut tokens = rest.split('.');
        let parsed = Self {
            tenant: tokens.next()?.parse().ok()?,
            channel: tokens.next()?.parse().ok()?,
            lane: tokens.next()?.parse().ok()?,
        };
        tokens.next().is_none().then_some(parsed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_send_subject_is_read_back() {
        let subject = SendSubject::parse("staffetta.v1.send.acme.acme-orders.bulk").unwrap();
        assert_eq!(subject.lane, Lane::Bulk);
        assert_eq!(SendSubject::parse(&subject.subject()), Some(subject.clone()));
        assert_eq!(SendSubject::parse("staffetta.v1.wake.acme.acme-orders.bulk"), Some(subject));
        for other in
            ["staffetta.v1.send.acme.x", "staffetta.v1.send.acme.x.slow", "staffetta.v1.send.a.b.bulk.c"]
        {
            assert_eq!(SendSubject::parse(other), None, "{other}");
        }
    }
}
