//! Messages of WhatsApp itself about a user: a new number, a new id, a new device.

use serde_json::Value;
use staffetta_domain::{Alias, Object, Sighting};

use super::who::Person;
use super::{Found, lenient, who};

/// What a system message says of its user. Its `from` is who the user was before.
pub(super) fn sighting(found: &Found, user: Person) -> Sighting {
    let mut seen = user.sighting(found.time(), false);
    let Some(Value::Object(system)) = found.fields().get("system") else { return seen };
    let is_change = matches!(
        lenient::text(system, "type"),
        Some("user_changed_number" | "customer_changed_number" | "user_changed_user_id")
    );
    if let Some((aliases, former)) = change(found.fields(), system).filter(|_| is_change) {
        seen.aliases = aliases;
        seen.former = former;
    }
    seen
}

/// The user's names from now on, and those until now; `None` if the message doesn't say what is new.
fn change(message: &Object, system: &Object) -> Option<(Vec<Alias>, Vec<Alias>)> {
    let mut now = Person::default();
    now.add(system, &who::PLAIN);
    now.add_user(lenient::text(system, "new_wa_id"));
    let mut before = Person::default();
    before.add(message, &who::SENDER);
    before.add_user(lenient::text(system, "customer"));
    before.add_user(old_user_id(system));
    before.aliases.retain(|alias| !now.aliases.contains(alias));
    (!now.aliases.is_empty()).then_some((now.aliases, before.aliases))
}

/// The id that the text ends with a change from. Only there: what stands before is the name that the user chose.
fn old_user_id(system: &Object) -> Option<&str> {
    let body = lenient::text(system, "body")?.trim_end_matches('.');
    let rest = body.strip_suffix(lenient::text(system, "user_id")?)?.strip_suffix(" to ")?;
    let (_, old) = rest.rsplit_once(" from ")?;
    matches!(Alias::of_user(old), Some(Alias::User(_))).then_some(old).filter(|old| !old.contains(' '))
}
