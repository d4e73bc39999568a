//! What is around a leaf, and how a body is built around it again.

use jiff::Timestamp;
use serde_json::{Value, json};
use staffetta_domain::Object;

use super::list::List;

/// What the leaves of one change share.
pub(super) struct Frame {
    pub(super) received_at: Timestamp,
    pub(super) waba_id: Option<String>,
    /// The account that the value itself names.
    pub(super) told_waba_id: Option<String>,
    /// The entry's time.
    pub(super) time: Option<Value>,
    pub(super) field: String,
    pub(super) messaging_product: Option<Value>,
    pub(super) metadata: Object,
    pub(super) phone_number_id: Option<String>,
    pub(super) display_phone_number: Option<String>,
}

/// What the leaves of one thread of the history share.
pub(super) struct Chapter {
    /// How far the synchronisation is.
    pub(super) metadata: Object,
    /// The thread without its messages; nothing for an error.
    pub(super) thread: Object,
}

impl Frame {
    /// A value that holds that leaf alone.
    pub(super) fn value(
        &self,
        list: List,
        leaf: &Value,
        contact: Option<&Object>,
        chapter: Option<&Chapter>,
    ) -> Value {
        let (name, item) = match (list.name(), chapter) {
            (Some(name), _) => (name, leaf.clone()),
            (None, Some(chapter)) => ("history", chapter.item(list, leaf)),
            (None, None) => return leaf.clone(),
        };
        let mut value = Object::new();
        value.extend(self.messaging_product.clone().map(|product| ("messaging_product".into(), product)));
        value.insert("metadata".into(), Value::Object(self.metadata.clone()));
        // The leaf may be found by it alone.
        if let Some(number) = self.display_phone_number.as_deref()
            && !self.metadata.contains_key("display_phone_number")
        {
            value.insert("display_phone_number".into(), number.into());
        }
        value.extend(contact.map(|contact| ("contacts".into(), json!([contact]))));
        value.insert(name.into(), json!([item]));
        Value::Object(value)
    }

    /// A body that holds that value alone.
    pub(super) fn body(&self, value: &Value) -> String {
        let mut entry = Object::new();
        entry.extend(self.waba_id.clone().map(|id| ("id".into(), id.into())));
        entry.extend(self.time.clone().map(|time| ("time".into(), time)));
        entry.insert("changes".into(), json!([{"field": self.field, "value": value}]));
        json!({"object": "whatsapp_business_account", "entry": [entry]}).to_string()
    }
}

impl Chapter {
    /// An item of `history` that holds that leaf alone.
    fn item(&self, list: List, leaf: &Value) -> Value {
        let mut item = Object::new();
        item.insert("metadata".into(), Value::Object(self.metadata.clone()));
        if list == List::HistoryErrors {
            item.insert("errors".into(), json!([leaf]));
        } else {
            let mut thread = self.thread.clone();
            thread.insert("messages".into(), json!([leaf]));
            item.insert("threads".into(), json!([thread]));
        }
        Value::Object(item)
    }
}
