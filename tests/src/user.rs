//! A user of WhatsApp, as its webhooks name one.

use serde_json::{Value, json};

use crate::meta::{body, change, entry};
use crate::registry::Number;

/// Somebody who writes to a number, known by a phone number, by a business-scoped id, or by both.
#[derive(Clone, Debug, Default)]
pub struct User {
    /// What the user goes by.
    pub name: String,
    /// The phone number.
    pub phone: Option<String>,
    /// The business-scoped id.
    pub id: Option<String>,
}

impl User {
    /// One who is known by a phone number.
    #[must_use]
    pub fn of_phone(name: &str, phone: &str) -> Self {
        Self { name: name.into(), phone: Some(phone.into()), id: None }
    }

    /// One who is known by an id.
    #[must_use]
    pub fn of_id(name: &str, id: &str) -> Self {
        Self { name: name.into(), phone: None, id: Some(id.into()) }
    }

    /// One who is known by both.
    #[must_use]
    pub fn of_both(name: &str, phone: &str, id: &str) -> Self {
        Self { name: name.into(), phone: Some(phone.into()), id: Some(id.into()) }
    }

    /// A message of any type that this user sent at `timestamp`, in seconds since 1970.
    #[must_use]
    pub fn message(&self, wamid: &str, timestamp: i64, kind: &str, content: Value) -> Value {
        let mut message = json!({ "id": wamid, "timestamp": timestamp.to_string(), "type": kind });
        message[kind] = content;
        set(&mut message, "from", self.phone.as_ref());
        set(&mut message, "from_user_id", self.id.as_ref());
        message
    }

    /// A text message of this user, which says its own id.
    #[must_use]
    pub fn text(&self, wamid: &str, timestamp: i64) -> Value {
        self.message(wamid, timestamp, "text", json!({ "body": wamid }))
    }

    /// A status of a message to this user.
    #[must_use]
    pub fn status(&self, wamid: &str, status: &str, timestamp: i64) -> Value {
        let mut status = json!({ "id": wamid, "status": status, "timestamp": timestamp.to_string() });
        set(&mut status, "recipient_id", self.phone.as_ref());
        set(&mut status, "recipient_user_id", self.id.as_ref());
        status
    }

    /// WhatsApp's entry about this user.
    #[must_use]
    pub fn contact(&self) -> Value {
        let mut contact = json!({ "profile": { "name": self.name } });
        set(&mut contact, "wa_id", self.phone.as_ref());
        set(&mut contact, "user_id", self.id.as_ref());
        contact
    }

    /// A change with messages of this user to a number.
    #[must_use]
    pub fn change(&self, number: Number, messages: &[Value]) -> Value {
        change(number, "messages", json!({ "contacts": [self.contact()], "messages": messages }))
    }

    /// A webhook's body with messages of this user to a number.
    #[must_use]
    pub fn webhook(&self, number: Number, messages: &[Value]) -> Value {
        body(&[entry(&[self.change(number, messages)])])
    }
}

fn set(object: &mut Value, name: &str, value: Option<&String>) {
    if let Some(value) = value {
        object[name] = value.as_str().into();
    }
}
