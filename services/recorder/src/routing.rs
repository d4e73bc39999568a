//! Whose leaf it is.

use std::collections::BTreeMap;
use std::sync::Arc;

use staffetta_bus::{Channel, Registry};
use staffetta_providers::webhook::Address;

/// Whether webhooks that this app signed are heard for that channel. A tenant's own app speaks for its tenant's channels
/// alone: whoever holds its secret could tell anything of anybody otherwise. Whose an app was that is not registered any
/// more nobody can say: what it brought waits on DEAD.
pub(crate) fn hears(registry: &Registry, app: &str, channel: &Channel) -> bool {
    let app = app.parse().ok().and_then(|app| registry.app(&app));
    app.is_some_and(|app| app.tenant.as_ref().is_none_or(|tenant| *tenant == channel.tenant.id))
}

/// The channels that a leaf is told on. The id of a number decides alone: a number that nobody owns is nobody's, even
/// where its account is known. A leaf of an account is told to each tenant that has a channel there, on the first of
/// its channels by id. An entry whose id is nobody's account may name the account inside.
pub(crate) fn owners(registry: &Registry, address: &Address<'_>) -> Vec<Arc<Channel>> {
    if let Some(number) = address.phone_number_id {
        return registry.channel_of_number(number).cloned().into_iter().collect();
    }
    let owned = |account: &str| -> Vec<&Arc<Channel>> {
        registry.channels().filter(|channel| channel.waba_id.as_deref() == Some(account)).collect()
    };
    let accounts = [address.waba_id, address.told_waba_id].into_iter().flatten();
    let channels = accounts.map(owned).find(|channels| !channels.is_empty()).unwrap_or_default();
    if let Some(number) = address.display_phone_number.map(digits) {
        let named = |channel: &&Arc<Channel>| {
            channel.display_phone_number.as_deref().is_some_and(|shown| digits(shown) == number)
        };
        if let Some(channel) = channels.iter().copied().filter(named).min_by_key(|channel| &channel.id) {
            return vec![Arc::clone(channel)];
        }
    }
    let mut first = BTreeMap::new();
    for channel in channels {
        let known = first.entry(&channel.tenant.id).or_insert(channel);
        if channel.id < known.id {
            *known = channel;
        }
    }
    first.into_values().cloned().collect()
}

fn digits(number: &str) -> String {
    number.chars().filter(char::is_ascii_digit).collect()
}
