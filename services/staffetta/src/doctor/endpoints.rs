//! Where the delivery to tenants' endpoints stands.

use std::collections::BTreeMap;

use futures_util::{StreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use staffetta_bus::Registry;
use staffetta_domain::TenantId;
use staffetta_store::{EndpointState, Store, StoreError};
use tokio::time::Instant;

use super::finding::{Area, Finding, Level, Notes};
use super::patient::{CHECK, Patient, within};
use super::print::{counted, span};

const STATE: &str = "endpoints.state";
/// Tenants that are asked about at a time.
const TOGETHER: usize = 2;
/// How long an endpoint may fail before it is an error.
const LONG: SignedDuration = SignedDuration::from_hours(1);

pub(super) async fn examine(patient: &Patient<'_>) -> Vec<Finding> {
    let mut notes = Notes::of(Area::Endpoints);
    let (registry, store) = match (&patient.registry, &patient.store) {
        (Ok(registry), Ok(store)) => (registry, store),
        (Err(why), _) => {
            let todo = "See the area registry.";
            notes.error(STATE, None, format!("not looked at: the registry can't be read: {why}"), todo);
            return notes.end();
        }
        (_, Err(why)) => {
            notes.error(STATE, None, format!("not looked at: no database: {why}"), "See the area database.");
            return notes.end();
        }
    };
    let mut tenants: Vec<&TenantId> = registry.endpoints().map(|endpoint| &endpoint.tenant.id).collect();
    tenants.sort_unstable();
    tenants.dedup();
    let deadline = Instant::now() + CHECK;
    let asking = tenants.iter().map(|tenant| states(store, tenant, deadline));
    let answers: Vec<_> = stream::iter(asking).buffered(TOGETHER).collect().await;
    let mut wrong = 0;
    let (mut unanswered, mut why) = (0, String::new());
    for answer in answers {
        match answer {
            Ok(states) => wrong += states.iter().filter(|state| judge(state, registry, &mut notes)).count(),
            Err(problem) => {
                unanswered += 1;
                why = problem;
            }
        }
    }
    if unanswered > 0 {
        let seen = format!("{unanswered} of {} tenants were not looked at: {why}", tenants.len());
        notes.error(
            STATE,
            None,
            seen,
            "See the area database; if that is well there are too many for 5 seconds.",
        );
    }
    switched_off(registry, &mut notes);
    match registry.endpoints().count() {
        0 => notes.ok(STATE, None, "no endpoint is registered"),
        all => notes.ok(STATE, None, format!("{}, {wrong} of them in trouble", counted(all, "endpoint"))),
    }
    notes.end()
}

async fn states(store: &Store, tenant: &TenantId, deadline: Instant) -> Result<Vec<EndpointState>, String> {
    if Instant::now() >= deadline {
        return Err("the time was over".into());
    }
    within::<_, StoreError>(store.endpoint_states(tenant)).await
}

/// Whether something is wrong with it. What is not in the registry any more is nobody's trouble.
fn judge(state: &EndpointState, registry: &Registry, notes: &mut Notes) -> bool {
    let id = &state.key.endpoint;
    let Some(endpoint) = registry.endpoint(id).filter(|known| known.tenant.id == state.key.tenant) else {
        return false;
    };
    let name = Some(id.as_str());
    // Disabled at an entry that has been changed since: it is tried again.
    let disabled = state.disabled.as_ref().filter(|disabled| disabled.revision >= endpoint.revision);
    if let Some(disabled) = disabled {
        let ago = Timestamp::now().duration_since(disabled.at);
        notes.error(
            STATE,
            name,
            format!("disabled for {}: {}", span(ago), disabled.reason),
            "Once the tenant's side is mended, enable it (POST /v1/endpoints/{id}/enable, or in /admin/v1) and replay what \
             it missed. Events stay on EVENTS for 7 days.",
        );
        return true;
    }
    if let Some(since) = state.failing_since {
        let ago = Timestamp::now().duration_since(since);
        let error = state.last_error.as_deref().unwrap_or("no reason is known");
        notes.at(
            if ago > LONG { Level::Error } else { Level::Warning },
            STATE,
            name,
            format!("nothing could be delivered for {}: {error}", span(ago)),
            "Tell the tenant: its side refuses or can't be reached. It is retried by itself, and disabled after 5 days \
             (delivery.disable_after_seconds).",
        );
        return true;
    }
    if state.parked > 0 {
        notes.note(
            STATE,
            name,
            format!("{} events of conversations that it refuses wait by themselves", state.parked),
            "The attempt log says what it answers to them (GET /v1/endpoints/{id}/attempts?failed=true).",
        );
        return true;
    }
    false
}

fn switched_off(registry: &Registry, notes: &mut Notes) {
    let mut off: BTreeMap<&str, ()> = BTreeMap::new();
    for endpoint in registry.endpoints().filter(|endpoint| !endpoint.enabled) {
        off.insert(endpoint.id.as_str(), ());
    }
    for id in off.into_keys() {
        let todo = "If that is not meant, set enabled = true and apply.";
        notes.note(STATE, Some(id), "switched off in the registry", todo);
    }
}
