//! Endpoints of kind `nats`: a durable consumer keeps each one's place on EVENTS, and its tenant fetches.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, Config, DeliverPolicy, pull};
use async_nats::jetstream::context::ConsumerInfoErrorKind;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, TryStreamExt};
use staffetta_bus::{
    Bus, Endpoint, Target, boot_time, nats_consumer_endpoint, nats_endpoint_consumer, part_of,
};
use staffetta_domain::{EndpointId, EventType};
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

/// The stream.
const EVENTS: &str = "EVENTS";
/// Longest wait for one answer.
const ANSWER: Duration = Duration::from_secs(5);
/// How long an entry is missing before its consumer goes, and how often that is looked for.
const GRACE: Duration = Duration::from_secs(10);
/// Pause before what failed is tried again.
const AGAIN: Duration = Duration::from_secs(2);
/// Events that a tenant may have fetched and not acknowledged.
const UNACKNOWLEDGED: i64 = 1_000;

/// Makes consumers as the registry says, one step at a time.
pub(crate) struct Consumers {
    bus: Bus,
    wanted: HashMap<EndpointId, Arc<Endpoint>>,
    parts: HashSet<u16>,
    /// Those of which nobody here can tell what they are: their consumers stay as they are.
    unreadable: HashSet<EndpointId>,
    /// Where in the list of those that are wanted the next one is looked for: one that can't be made holds up no other.
    turn: usize,
    /// The revisions as of which consumers are there.
    made: HashMap<EndpointId, u64>,
    /// Consumers without an entry, and since when.
    missing: HashMap<EndpointId, Duration>,
    sweep_at: Duration,
    step: Option<BoxFuture<'static, Step>>,
}

enum Step {
    Made(EndpointId, u64),
    NotMade,
    Listed(Vec<EndpointId>),
    Removed(EndpointId),
    Failed,
}

impl Consumers {
    pub(crate) fn new(bus: Bus) -> Self {
        let (wanted, parts, unreadable, made, missing) = Default::default();
        let sweep_at = boot_time() + GRACE;
        Self { bus, wanted, parts, unreadable, turn: 0, made, missing, sweep_at, step: None }
    }

    /// These are the endpoints of kind `nats` in the parts that this process owns, and those of which the registry holds
    /// an entry that can't be read.
    pub(crate) fn should_be(
        &mut self,
        endpoints: Vec<Arc<Endpoint>>,
        unreadable: HashSet<EndpointId>,
        parts: HashSet<u16>,
    ) {
        self.unreadable = unreadable;
        self.wanted = endpoints.into_iter().map(|endpoint| (endpoint.id.clone(), endpoint)).collect();
        self.parts = parts;
        let parts = &self.parts;
        self.made.retain(|id, _| parts.contains(&part_of(id.as_str())));
    }

    /// Does the next step, and returns when it is done; waits while there is none. May be dropped and called again.
    pub(crate) async fn work(&mut self) {
        if self.step.is_none() {
            self.step = self.next();
        }
        let Some(step) = &mut self.step else {
            // Whatever changes comes by way of `should_be`, and then this is called anew.
            sleep(self.sweep_at.saturating_sub(boot_time())).await;
            return;
        };
        let done = step.await;
        self.step = None;
        match done {
            Step::Made(id, revision) => drop(self.made.insert(id, revision)),
            Step::Listed(found) => self.listed(found),
            Step::Removed(id) => {
                self.made.remove(&id);
                self.missing.remove(&id);
            }
            Step::NotMade => self.turn = self.turn.wrapping_add(1),
            Step::Failed => {}
        }
    }

    fn next(&mut self) -> Option<BoxFuture<'static, Step>> {
        let now = boot_time();
        let due = self.missing.iter().find(|(_, since)| **since + GRACE <= now);
        if let Some((id, _)) = due {
            return Some(remove(self.bus.clone(), id.clone()).boxed());
        }
        if self.sweep_at <= now && !self.parts.is_empty() {
            self.sweep_at = now + GRACE;
            return Some(list(self.bus.clone()).boxed());
        }
        let is_unmade = |endpoint: &&Arc<Endpoint>| self.made.get(&endpoint.id) != Some(&endpoint.revision);
        let unmade: Vec<_> = self.wanted.values().filter(is_unmade).collect();
        if let Some(turn) = self.turn.checked_rem(unmade.len()) {
            return Some(make(self.bus.clone(), Arc::clone(unmade[turn])).boxed());
        }
        self.sweep_at = self.sweep_at.max(now + AGAIN);
        None
    }

    fn listed(&mut self, found: Vec<EndpointId>) {
        let now = boot_time();
        let found: HashSet<EndpointId> = found.into_iter().collect();
        // With EVENTS all of its consumers go, and somebody may take one away.
        self.made.retain(|id, _| found.contains(id));
        let unknown = found.into_iter().filter(|id| {
            self.parts.contains(&part_of(id.as_str()))
                && !self.wanted.contains_key(id)
                && !self.unreadable.contains(id)
        });
        let before = std::mem::take(&mut self.missing);
        self.missing = unknown.map(|id| (id.clone(), before.get(&id).copied().unwrap_or(now))).collect();
    }
}

/// No event is of this kind.
const NO_KIND: &str = "none";

/// The subjects of what the endpoint wants, each once: the server takes none that overlap. Never none at all, which would
/// be everybody's events: where this version knows none of the wanted types, they are subjects of nothing.
fn subjects(endpoint: &Endpoint) -> Vec<String> {
    let tenant = &endpoint.tenant.id;
    let mut channels: Vec<&str> = match endpoint.channels.as_slice() {
        [] => vec!["*"],
        channels => channels.iter().map(staffetta_domain::ChannelId::as_str).collect(),
    };
    channels.sort_unstable();
    channels.dedup();
    let mut kinds: Vec<String> = if endpoint.types.is_empty() {
        vec!["*".into()]
    } else {
        EventType::ALL.into_iter().filter(|kind| endpoint.wants_type(*kind)).map(EventType::kind).collect()
    };
    if kinds.is_empty() {
        kinds.push(NO_KIND.into());
    }
    let of = |channel: &&str| {
        let channel = (*channel).to_owned();
        kinds.iter().map(move |kind| format!("staffetta.v1.event.{tenant}.{channel}.{kind}"))
    };
    channels.iter().flat_map(of).collect()
}

async fn make(bus: Bus, endpoint: Arc<Endpoint>) -> Step {
    debug_assert!(matches!(endpoint.target, Target::Nats));
    let name = nats_endpoint_consumer(&endpoint.id);
    let config = pull::Config {
        durable_name: Some(name.clone()),
        description: Some(format!("events for endpoint {}", endpoint.id)),
        deliver_policy: DeliverPolicy::New,
        ack_policy: AckPolicy::Explicit,
        ack_wait: Duration::from_secs(30),
        max_ack_pending: UNACKNOWLEDGED,
        filter_subjects: subjects(&endpoint),
        ..pull::Config::default()
    };
    let making = timeout(ANSWER, async {
        let stream = bus.jetstream().get_stream_no_info(EVENTS).await?;
        // What another tenant has fetched by this name and not acknowledged would come again, to this one.
        match stream.consumer_info(&name).await {
            Ok(found) if !is_of(&found.config, &endpoint) => {
                stream.delete_consumer(&name).await?;
            }
            Ok(_) => {}
            Err(error) if error.kind() == ConsumerInfoErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
        stream.create_consumer(config).await?;
        Ok::<_, async_nats::Error>(())
    });
    match making.await.map_err(Into::into).flatten() {
        Ok(()) => {
            info!(endpoint = %endpoint.id, "the endpoint's consumer is there");
            Step::Made(endpoint.id.clone(), endpoint.revision)
        }
        Err(error) => {
            warn!(endpoint = %endpoint.id, %error, "the endpoint's consumer can't be made yet");
            sleep(AGAIN).await;
            Step::NotMade
        }
    }
}

/// Whether all that the consumer brings is the endpoint's tenant's.
fn is_of(config: &Config, endpoint: &Endpoint) -> bool {
    let own = format!("staffetta.v1.event.{}.", endpoint.tenant.id);
    let mut subjects =
        config.filter_subjects.iter().chain(Some(&config.filter_subject)).filter(|s| !s.is_empty());
    subjects.clone().next().is_some() && subjects.all(|subject| subject.starts_with(&own))
}

async fn list(bus: Bus) -> Step {
    let listing = timeout(ANSWER, async {
        let stream = bus.jetstream().get_stream_no_info(EVENTS).await?;
        stream.consumer_names().try_collect::<Vec<String>>().await.map_err(async_nats::Error::from)
    });
    match listing.await.map_err(Into::into).flatten() {
        Ok(names) => Step::Listed(names.iter().filter_map(|name| nats_consumer_endpoint(name)).collect()),
        Err(error) => {
            warn!(%error, "the consumers of EVENTS can't be listed");
            Step::Failed
        }
    }
}

async fn remove(bus: Bus, id: EndpointId) -> Step {
    let removing = timeout(ANSWER, async {
        let stream = bus.jetstream().get_stream_no_info(EVENTS).await?;
        stream.delete_consumer(&nats_endpoint_consumer(&id)).await.map_err(async_nats::Error::from)
    });
    match removing.await.map_err(Into::into).flatten() {
        Ok(_) => {
            info!(endpoint = %id, "the consumer of an endpoint that is registered no more is removed");
            Step::Removed(id)
        }
        Err(error) => {
            warn!(endpoint = %id, %error, "a consumer can't be removed yet");
            sleep(AGAIN).await;
            Step::Failed
        }
    }
}

#[cfg(test)]
mod tests {
    use staffetta_bus::{DoubtPolicy, Encoding, Tenant};

    use super::*;

    fn endpoint(tenant: &str, channels: &[&str], types: &[&str]) -> Endpoint {
        let tenant = Tenant {
            id: tenant.parse().unwrap(),
            encoding: Encoding::Json,
            doubt_policy: DoubtPolicy::default(),
            retention_days: 90,
            name: String::new(),
            api_requests_per_second: None,
        };
        Endpoint {
            id: "bus".parse().unwrap(),
            tenant: Arc::new(tenant),
            revision: 1,
            enabled: true,
            channels: channels.iter().map(|id| id.parse().unwrap()).collect(),
            types: types.iter().map(|name| (*name).to_owned()).collect(),
            target: Target::Nats,
            problem: None,
        }
    }

    #[test]
    fn a_filter_is_never_empty_nor_says_anything_twice() {
        for (channels, types, wanted) in [
            (&[][..], &[][..], &["staffetta.v1.event.acme.*.*"][..]),
            (&["b", "a", "b"], &[], &["staffetta.v1.event.acme.a.*", "staffetta.v1.event.acme.b.*"]),
            (&["a"], &["message.read*", "media.lost"], &["staffetta.v1.event.acme.a.media-lost"]),
            // A type that a later version knows: nothing, and above all not everything.
            (&[], &["invoice.paid"], &["staffetta.v1.event.acme.*.none"]),
            (&["a"], &["invoice.*"], &["staffetta.v1.event.acme.a.none"]),
        ] {
            assert_eq!(subjects(&endpoint("acme", channels, types)), wanted, "{channels:?} {types:?}");
        }
    }

    #[test]
    fn another_tenant_s_consumer_is_told_from_its_own() {
        let own = endpoint("acme", &[], &[]);
        let of = |subjects: &[&str]| Config {
            filter_subjects: subjects.iter().map(|subject| (*subject).to_owned()).collect(),
            ..Config::default()
        };
        assert!(is_of(&of(&["staffetta.v1.event.acme.a.*", "staffetta.v1.event.acme.b.*"]), &own));
        let one = Config { filter_subject: "staffetta.v1.event.acme.*.*".into(), ..Config::default() };
        assert!(is_of(&one, &own));
        for other in [
            &[][..],
            &["staffetta.v1.event.beta.*.*"],
            &["staffetta.v1.event.acme2.*.*"],
            &["staffetta.v1.event.acme.*.*", "staffetta.v1.event.beta.*.*"],
        ] {
            assert!(!is_of(&of(other), &own), "{other:?}");
        }
    }
}
