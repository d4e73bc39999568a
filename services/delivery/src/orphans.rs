//! What is left of endpoints that are registered no more.

use std::collections::HashSet;

use staffetta_bus::RegistryView;
use staffetta_store::{EndpointKey, Store};
use tracing::{info, warn};

/// Endpoints of which something is left though they are not registered: seen so once.
pub(crate) type Seen = HashSet<EndpointKey>;

/// Forgets what was seen before and is still there without being registered: who takes an entry away and puts it back
/// within minutes loses nothing. Gives back what is seen now.
pub(crate) async fn forget(registry: RegistryView, store: Store, before: Seen) -> Seen {
    let mut seen = Seen::new();
    let tenants: Vec<_> = registry.load().tenants().map(|tenant| tenant.id.clone()).collect();
    for tenant in tenants {
        let states = match store.endpoint_states(&tenant).await {
            Ok(states) => states,
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                warn!(error, "what is left of endpoints is looked for later");
                return before;
            }
        };
        for state in states {
            let key = state.key;
            let registry = registry.load();
            // Of an entry that can't be read, a later version perhaps wrote it, nobody here can say that it is gone.
            if registry.endpoint(&key.endpoint).is_some_and(|endpoint| endpoint.tenant.id == key.tenant)
                || registry.unreadable_endpoints().any(|unreadable| *unreadable == key.endpoint)
            {
                continue;
            }
            if !before.contains(&key) {
                seen.insert(key);
            } else if let Err(error) = store.forget_endpoint(&key).await {
                let error: &dyn std::error::Error = &error;
                warn!(endpoint = %key.endpoint, error, "an endpoint that is gone can't be forgotten yet");
                seen.insert(key);
            } else {
                info!(endpoint = %key.endpoint, "an endpoint that is registered no more is forgotten");
            }
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use staffetta_bus::{Bus, RegistryFile, RegistryStore, Retention, Unnamed};
    use staffetta_store::{EndpointPlace, StoreOptions};
    use staffetta_testkit::NatsServer;
    use tokio_util::sync::CancellationToken;

    use super::*;

    #[tokio::test]
    async fn only_what_is_gone_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let store = format!("sqlite:{}", folder.path().join("orphans.db").display());
        let store = Store::connect(&store, &StoreOptions::default()).await.unwrap();
        store.migrate().await.unwrap();
        let place = |id: &str| EndpointPlace {
            key: EndpointKey { tenant: "acme".parse().unwrap(), endpoint: id.parse().unwrap() },
            epoch: 1,
            cursor: 7,
            log: None,
            failing_since: None,
            last_success: Some(Timestamp::UNIX_EPOCH),
            last_error: None,
        };
        store.keep_places(&["gone", "here", "later"].map(place)).await.unwrap();

        let nats = NatsServer::start().await.unwrap();
        let bus = Bus::connect(nats.url(), "orphans test").await.unwrap();
        let retention = Retention { replicas: 1, webhooks_max_bytes: 1 << 20, lane_max_commands: 10 };
        bus.set_up_streams(&retention).await.unwrap();
        let registry = RegistryStore::open(&bus, None).await.unwrap();
        let file = "tenant = [{ id = \"acme\" }]\nendpoint = [{ id = \"here\", tenant = \"acme\", kind = \"nats\" }]";
        let plan = registry.plan(vec![RegistryFile::parse(file).unwrap()], Unnamed::Keep).await.unwrap();
        registry.apply(plan).await.unwrap();
        // As a version would write it that knows one kind more.
        let entry = r#"{"id":"later","tenant":"acme","kind":"pigeon"}"#;
        let bucket = bus.jetstream().get_key_value("REGISTRY").await.unwrap();
        bucket.put("endpoint.later", entry.into()).await.unwrap();
        let (registry, _following) =
            RegistryView::follow(&bus, None, CancellationToken::new()).await.unwrap();

        let seen = forget(registry.clone(), store.clone(), Seen::new()).await;
        assert_eq!(seen, Seen::from([place("gone").key]), "seen once, it stays");
        assert!(store.endpoint_state(&place("gone").key).await.unwrap().is_some());
        assert!(forget(registry, store.clone(), seen).await.is_empty());
        let left = store.endpoint_states(&"acme".parse().unwrap()).await.unwrap();
        let left: Vec<_> = left.iter().map(|state| state.key.endpoint.as_str()).collect();
        assert_eq!(left, ["here", "later"]);
    }
}
