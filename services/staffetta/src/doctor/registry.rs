//! The registry as a service would read it with this configuration and these variables.

use jiff::{SignedDuration, Timestamp};
use staffetta_bus::{Provider, Registry};

use super::finding::{Area, Finding, Level, Notes};
use super::patient::Patient;
use super::print::{counted, span};

/// Most problems that are told one by one.
const MOST: usize = 20;
/// How long before its end a key is worth a note, and a warning: then the alert `StaffettaKeyExpires` fires as well.
const NOTED: SignedDuration = SignedDuration::from_hours(30 * 24);
const SOON: SignedDuration = SignedDuration::from_hours(7 * 24);

pub(super) fn examine(patient: &Patient<'_>) -> Vec<Finding> {
    let mut notes = Notes::of(Area::Registry);
    let registry = match &patient.registry {
        Ok(registry) => registry,
        Err(why) => {
            notes.error(
                "registry.read",
                None,
                format!("can't be read: {why}"),
                "See the area nats. Services go on with what they read last; one that starts now waits for it.",
            );
            return notes.end();
        }
    };
    count(registry, &mut notes);
    for problem in registry.problems().iter().take(MOST) {
        notes.error(
            "registry.entry",
            None,
            problem.clone(),
            "Correct the entry and `staffetta apply` it. Of a secret: services and this command must see the same \
             variables, files and master_key; here one of them is missing or another.",
        );
    }
    let more = registry.problems().len().saturating_sub(MOST);
    if more > 0 {
        notes.error("registry.entry", None, format!("{more} more problems"), "Begin with those above.");
    }
    for endpoint in registry.unreadable_endpoints() {
        notes.error(
            "registry.entry",
            Some(endpoint.as_str()),
            "this version can't read the endpoint's entry",
            "A newer version wrote it: upgrade. Until then its events wait.",
        );
    }
    apps(registry, &mut notes);
    channels(registry, &mut notes);
    keys(registry, &mut notes);
    notes.end()
}

fn count(registry: &Registry, notes: &mut Notes) {
    let (apps, tenants) = (registry.apps().count(), registry.tenants().count());
    let (channels, endpoints) = (registry.channels().count(), registry.endpoints().count());
    let seen = [(apps, "app"), (tenants, "tenant"), (channels, "channel"), (endpoints, "endpoint")];
    let seen = seen.map(|(count, one)| counted(count, one)).join(", ");
    if channels == 0 {
        let todo = "Write a registry file (docs/registry.md) and run `staffetta apply -f registry.toml`.";
        notes.warning("registry.read", None, format!("{seen}: nothing can be sent or received"), todo);
    } else {
        notes.ok("registry.read", None, seen);
    }
}

fn apps(registry: &Registry, notes: &mut Notes) {
    let mut apps: Vec<_> = registry.apps().collect();
    apps.sort_unstable_by(|a, b| a.id.cmp(&b.id));
    for app in apps {
        let name = Some(app.id.as_str());
        if app.secrets.is_empty() {
            notes.error(
                "registry.app",
                name,
                "no app secret: all its webhooks are answered with 503, and the provider sends them again for 7 days",
                "Give it its app_secret (Meta's app dashboard, App settings, Basic).",
            );
        }
        if app.verify_token.is_none() {
            notes.note(
                "registry.app",
                name,
                "no verify token: the provider can't verify the webhook's address",
                "Give it a verify_token before the callback URL is set, or set again, at the provider.",
            );
        }
    }
}

fn channels(registry: &Registry, notes: &mut Notes) {
    let mut channels: Vec<_> = registry.channels().collect();
    channels.sort_unstable_by(|a, b| a.id.cmp(&b.id));
    for channel in channels {
        let name = Some(channel.id.as_str());
        if channel.number_lost {
            notes.warning(
                "registry.channel",
                name,
                "another channel claimed its number later: this one neither sends nor receives",
                "If that was meant, remove this channel. If not, remove the other one and apply this one again.",
            );
        } else if channel.access_token.is_none() && channel.provider == Provider::CloudApi {
            notes.warning(
                "registry.channel",
                name,
                "no access token: it receives and can't send",
                "Give it its access_token; a system user's never ends.",
            );
        } else if channel.phone_number_id.is_none() && channel.provider == Provider::CloudApi {
            notes.warning(
                "registry.channel",
                name,
                "no phone_number_id: it neither sends nor receives",
                "Give it the id that the provider shows for its number.",
            );
        }
    }
}

fn keys(registry: &Registry, notes: &mut Notes) {
    let now = Timestamp::now();
    let mut keys: Vec<_> = registry.keys().filter_map(|key| Some((key, key.expires?))).collect();
    keys.sort_unstable_by(|(a, _), (b, _)| (&a.tenant.id, &a.id).cmp(&(&b.tenant.id, &b.id)));
    let mut told = 0;
    for (key, expires) in keys {
        let left = expires.duration_since(now);
        if left > NOTED {
            continue;
        }
        told += 1;
        let name = format!("{}/{}", key.tenant.id, key.name.as_deref().unwrap_or(&key.id));
        let (level, seen, todo) = if left.is_positive() {
            let todo = "Give the tenant a new key beside it, and let it change over before this one ends.";
            let level = if left < SOON { Level::Warning } else { Level::Note };
            (level, format!("the API key ends in {}", span(left)), todo)
        } else {
            let todo = "Nobody gets in with it any more: remove it from the registry.";
            (Level::Note, format!("the API key ended {} ago", span(left)), todo)
        };
        notes.at(level, "registry.key", Some(&name), seen, todo);
    }
    if told == 0 {
        notes.ok("registry.key", None, "no API key ends within 30 days");
    }
}
