//! What a tenant's connection may do.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use staffetta_domain::{Lane, TenantId};

use crate::answers::{answers_to, inbox_prefix};
use crate::registry::{Channel, Key, Registry, Scope, Target};
use crate::subjects::{SendSubject, nats_endpoint_consumer};

/// How long a connection lasts at most: clients connect again by themselves, and are asked anew who they are.
const LONGEST: SignedDuration = SignedDuration::from_mins(15);
/// Subscriptions of one connection.
const SUBSCRIPTIONS: i64 = 100;
/// Largest message of one connection, in bytes: a command is smaller.
const PAYLOAD: i64 = 1 << 20;

/// The permissions of a user, as NATS' tokens write them.
#[derive(Debug, Serialize)]
pub(super) struct Rights {
    r#pub: Subjects,
    sub: Subjects,
    subs: i64,
    data: i64,
    payload: i64,
    allowed_connection_types: [&'static str; 2],
    r#type: &'static str,
    version: u8,
}

#[derive(Debug, Default, Serialize)]
struct Subjects {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    allow: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    deny: Vec<String>,
}

impl Subjects {
    /// An empty list would allow everything.
    fn of(allow: Vec<String>) -> Self {
        let deny = if allow.is_empty() { vec![">".to_owned()] } else { Vec::new() };
        Self { allow, deny }
    }
}

impl Rights {
    /// What this key may do: its tenant's own subjects, as far as its scopes reach.
    pub(super) fn of(registry: &Registry, key: &Key) -> Self {
        let tenant = &key.tenant.id;
        let mut publish = Vec::new();
        if key.may(Scope::Send) {
            publish.extend(lanes(registry, tenant));
        }
        let mut subscribe = vec![format!("{}.>", inbox_prefix(tenant)), format!("{}.>", answers_to(tenant))];
        if key.may(Scope::Read) {
            subscribe.push(format!("staffetta.v1.event.{tenant}.>"));
            publish.extend(consumers(registry, tenant));
        }
        Self {
            r#pub: Subjects::of(publish),
            sub: Subjects::of(subscribe),
            subs: SUBSCRIPTIONS,
            data: -1,
            payload: PAYLOAD,
            allowed_connection_types: ["STANDARD", "WEBSOCKET"],
            r#type: "user",
            version: 2,
        }
    }
}

/// The lanes of the tenant's channels, one by one. With a wildcard it could put whatever it likes under names that no
/// channel can have: nobody would ever read it, tell of it or take it away.
fn lanes(registry: &Registry, tenant: &TenantId) -> Vec<String> {
    let own = registry.channels().filter(|channel| channel.tenant.id == *tenant);
    let of = |channel: &Arc<Channel>| {
        let lane = |lane| SendSubject { tenant: tenant.clone(), channel: channel.id.clone(), lane }.subject();
        [Lane::Urgent, Lane::Normal, Lane::Bulk].map(lane)
    };
    let mut lanes: Vec<String> = own.flat_map(of).collect();
    lanes.sort();
    lanes
}

/// What reading by the consumers of the tenant's endpoints of kind `nats` takes.
fn consumers(registry: &Registry, tenant: &TenantId) -> Vec<String> {
    let mut allowed = Vec::new();
    for endpoint in registry.endpoints() {
        if endpoint.tenant.id == *tenant && endpoint.enabled && matches!(endpoint.target, Target::Nats) {
            let consumer = nats_endpoint_consumer(&endpoint.id);
            allowed.push(format!("$JS.API.CONSUMER.MSG.NEXT.EVENTS.{consumer}"));
            allowed.push(format!("$JS.API.CONSUMER.INFO.EVENTS.{consumer}"));
            allowed.push(format!("$JS.ACK.EVENTS.{consumer}.>"));
            // The longer form of newer servers names domain and account first.
            allowed.push(format!("$JS.ACK.*.*.EVENTS.{consumer}.>"));
        }
    }
    allowed.sort();
    allowed
}

/// When the connection ends.
pub(super) fn ends(key: &Key, now: Timestamp) -> Timestamp {
    let longest = now.checked_add(LONGEST).unwrap_or(Timestamp::MAX);
    key.expires.map_or(longest, |expires| expires.min(longest))
}
