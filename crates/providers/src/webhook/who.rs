//! Who is at the other end, as a leaf and the contact beside it say.
//!
//! Nothing is taken for granted: a number may be missing or empty, and a business-scoped id may stand where a number
//! belongs.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;
use staffetta_domain::{Alias, Object, Sighting};

use super::list::List;
use super::{Found, lenient};

/// The three fields by which a leaf names a user, and those of an event's data.
pub(super) struct Names {
    number: &'static str,
    user: &'static str,
    parent: &'static str,
    told: [&'static str; 3],
}

/// Whoever wrote.
pub(super) const SENDER: Names = Names {
    number: "from",
    user: "from_user_id",
    parent: "from_parent_user_id",
    told: ["from", "user_id", "parent_user_id"],
};

/// Whoever is written to.
pub(super) const ADDRESSEE: Names = Names {
    number: "to",
    user: "to_user_id",
    parent: "to_parent_user_id",
    told: ["to", "to_user_id", "to_parent_user_id"],
};

/// Whoever a status is about.
pub(super) const RECIPIENT: Names = Names {
    number: "recipient_id",
    user: "recipient_user_id",
    parent: "recipient_parent_user_id",
    told: ["recipient", "recipient_user_id", "recipient_parent_user_id"],
};

/// The member of a group that a status is about.
pub(super) const PARTICIPANT: Names = Names {
    number: "recipient_participant_id",
    user: "recipient_participant_user_id",
    parent: "recipient_participant_parent_user_id",
    told: ["participant", "participant_user_id", "participant_parent_user_id"],
};

/// Whoever is neither: contacts, preferences.
pub(super) const PLAIN: Names = Names {
    number: "wa_id",
    user: "user_id",
    parent: "parent_user_id",
    told: ["wa_id", "user_id", "parent_user_id"],
};

/// What is known of one user.
#[derive(Default)]
pub(super) struct Person {
    /// Everything that the user is known by.
    pub(super) aliases: Vec<Alias>,
    phone: Option<String>,
    user_id: Option<String>,
    parent_user_id: Option<String>,
    name: Option<String>,
    username: Option<String>,
}

impl Person {
    /// Whom the leaf names so, with what its contact adds.
    pub(super) fn of(found: &Found, names: &Names) -> Self {
        let mut person = Self::default();
        person.add(found.fields(), names);
        if let Some(contact) = found.contact() {
            person.add(contact, &PLAIN);
            if let Some(Value::Object(profile)) = contact.get("profile") {
                person.name = lenient::text(profile, "name").map(str::to_owned);
                person.username = lenient::text(profile, "username").map(str::to_owned);
            }
        }
        person
    }

    /// Adds what an object names so.
    pub(super) fn add(&mut self, object: &Object, names: &Names) {
        self.add_alias(lenient::text(object, names.number), Alias::of_user);
        self.add_alias(lenient::text(object, names.user), Alias::of_user);
        self.add_parent(lenient::text(object, names.parent));
    }

    /// Adds a number or an id.
    pub(super) fn add_user(&mut self, text: Option<&str>) {
        self.add_alias(text, Alias::of_user);
    }

    /// Adds the id of a parent portfolio.
    pub(super) fn add_parent(&mut self, text: Option<&str>) {
        // By its place, whatever its shape: two ids of one sort would be two users.
        self.add_alias(text, |text| match Alias::of_user(text)? {
            Alias::Phone(id) | Alias::User(id) => Some(Alias::Parent(id)),
            alias => Some(alias),
        });
    }

    fn add_alias(&mut self, text: Option<&str>, read: impl Fn(&str) -> Option<Alias>) {
        let Some((text, alias)) = text.and_then(|text| Some((text, read(text)?))) else { return };
        let known = match &alias {
            Alias::Phone(_) => &mut self.phone,
            Alias::User(_) => &mut self.user_id,
            Alias::Parent(_) | Alias::Group(_) => &mut self.parent_user_id,
        };
        known.get_or_insert_with(|| text.to_owned());
        if !self.aliases.contains(&alias) {
            self.aliases.push(alias);
        }
    }

    /// Writes the user's names into an event's data.
    pub(super) fn tell(&self, names: &Names, data: &mut Object) {
        let known = [&self.phone, &self.user_id, &self.parent_user_id];
        for (name, text) in names.told.into_iter().zip(known) {
            lenient::set(data, name, text.as_deref());
        }
        lenient::set(data, "name", self.name.as_deref());
        lenient::set(data, "username", self.username.as_deref());
    }

    /// That this user was seen.
    pub(super) fn sighting(self, at: Timestamp, wrote: bool) -> Sighting {
        let Self { aliases, name, username, .. } = self;
        Sighting { aliases, former: Vec::new(), name, username, at, wrote }
    }
}

/// That this group was seen; whoever spoke in it is somebody else's conversation.
pub(super) fn group(id: Option<&str>, at: Timestamp, wrote: bool) -> Sighting {
    let aliases = id.and_then(Alias::of_group).into_iter().collect();
    Sighting { aliases, former: Vec::new(), name: None, username: None, at, wrote }
}

/// Largest contact that is told with every leaf of its user, in bytes.
const MOST_OF_A_CONTACT: usize = 8 << 10;
/// Longest name that is kept of a larger one, in bytes.
const MOST_OF_A_NAME: usize = 512;

/// The fields by which a contact names its user.
const IDS: [&str; 3] = ["wa_id", "user_id", "parent_user_id"];

/// The contacts beside some leaves, found by what they are called: there may be thousands of both.
#[derive(Default)]
pub(super) struct Contacts {
    all: Vec<Arc<Object>>,
    /// The first contact of each name.
    by_name: HashMap<String, usize>,
}

impl Contacts {
    /// Adds the next one. Of one that is too large to be repeated the names are kept; false if it was.
    pub(super) fn add(&mut self, contact: Object, bytes: usize) -> bool {
        let fits = bytes <= MOST_OF_A_CONTACT;
        let contact = if fits { contact } else { names_alone(&contact) };
        for name in IDS.iter().filter_map(|name| lenient::text(&contact, name)) {
            self.by_name.entry(name.to_owned()).or_insert(self.all.len());
        }
        self.all.push(Arc::new(contact));
        fits
    }

    /// The contact that the leaf is about. A number may differ in spelling, so a leaf that came alone with one contact
    /// is that contact's, unless their ids say otherwise.
    pub(super) fn of(&self, list: List, leaf: &Object, alone: bool) -> Option<Arc<Object>> {
        if self.all.is_empty() {
            return None;
        }
        let names = names_in(list, leaf);
        let named = names.iter().filter_map(|name| self.by_name.get(*name)).min();
        if let Some(place) = named {
            return self.all.get(*place).cloned();
        }
        let is_user = |text: &str| matches!(Alias::of_user(text), Some(Alias::User(_)));
        match &self.all[..] {
            [only] if alone && list.has_people() => {
                let theirs = lenient::text(only, "user_id").unwrap_or_default();
                let is_other = is_user(theirs) && names.iter().any(|name| is_user(name));
                (!is_other).then(|| Arc::clone(only))
            }
            _ => None,
        }
    }
}

/// What tells whose contact it is.
fn names_alone(contact: &Object) -> Object {
    let texts = |from: &Object, names: &[&str]| {
        let mut kept = Object::new();
        for name in names {
            lenient::set(
                &mut kept,
                name,
                lenient::text(from, name).filter(|text| text.len() <= MOST_OF_A_NAME),
            );
        }
        kept
    };
    let mut kept = texts(contact, &IDS);
    if let Some(Value::Object(profile)) = contact.get("profile") {
        kept.insert("profile".into(), texts(profile, &["name", "username"]).into());
    }
    kept
}

/// All that the leaf calls the user at the other end, and in a call the business too: no contact goes by that.
fn names_in(list: List, leaf: &Object) -> Vec<&str> {
    let mut found = Vec::new();
    let mut add = |names: &Names| {
        found.extend(
            [names.number, names.user, names.parent].iter().filter_map(|name| lenient::text(leaf, name)),
        );
    };
    match list {
        List::Messages => add(&SENDER),
        List::Echoes => add(&ADDRESSEE),
        List::Statuses => {
            add(&PARTICIPANT);
            add(&RECIPIENT);
        }
        List::Calls => {
            add(&SENDER);
            add(&ADDRESSEE);
        }
        List::Preferences => add(&PLAIN),
        List::UserIds => {
            found.extend(lenient::text(leaf, "wa_id"));
            for name in ["user_id", "parent_user_id"] {
                let change = leaf.get(name).and_then(Value::as_object);
                found.extend(change.and_then(|change| lenient::text(change, "current")));
            }
        }
        _ => {}
    }
    found
}
