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
            if registry.endpoint(&key.endpoint).is_some_and(|endpoint| endpoint.tenant.id == key.tenant) {
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
