//! A leaf, and where it may stand in a body.

use proptest::prelude::*;
use serde_json::Value;
use staffetta_domain::EventType;

use crate::pen::Object;
use crate::{manage, message, status};

/// How many numbers there are; each belongs to one account.
pub(crate) const NUMBERS: usize = 3;
/// How many accounts.
pub(crate) const ACCOUNTS: usize = 2;

/// One leaf as a test places it.
#[derive(Clone, Debug)]
pub(crate) struct Leaf {
    /// Which account.
    pub(crate) account: usize,
    /// Which of the account's numbers; none where a field has no `metadata`.
    pub(crate) number: Option<usize>,
    /// The entry's time.
    pub(crate) time: Option<u64>,
    pub(crate) field: String,
    pub(crate) stand: Stand,
    pub(crate) item: Item,
    /// Whom Meta names beside it.
    pub(crate) contact: Option<Value>,
    /// What the contract calls it.
    pub(crate) kind: EventType,
    /// What makes it itself, by the contract; none for all that it says.
    pub(crate) id: Option<String>,
}

/// Where in the change it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stand {
    /// In the list of that name in the value.
    List(&'static str),
    /// In a thread of one of the history's chunks.
    Thread { chunk: u64, thread: String },
    /// In the errors of one of the history's chunks.
    ChunkErrors { chunk: u64 },
    /// It is the value.
    Value,
    /// It is the change.
    Change,
    /// It is the entry.
    Entry,
}

/// What stands there.
#[derive(Clone, Debug)]
pub(crate) enum Item {
    Good(Value),
    /// Text, as it is to be written.
    Raw(String),
}

impl Item {
    pub(crate) fn value(&self) -> Option<&Value> {
        match self {
            Self::Good(value) => Some(value),
            Self::Raw(_) => None,
        }
    }
}

impl Leaf {
    /// One of a number's, in a list.
    pub(crate) fn in_list(number: usize, field: &str, list: &'static str, item: Object) -> Self {
        Self {
            account: number % ACCOUNTS,
            number: Some(number),
            time: None,
            field: field.to_owned(),
            stand: Stand::List(list),
            item: Item::Good(Value::Object(item)),
            contact: None,
            kind: EventType::WebhookOther,
            id: None,
        }
    }

    /// One of an account's, which is a value by itself.
    pub(crate) fn of_account(account: usize, field: &str, value: Value, time: u64) -> Self {
        Self {
            account,
            number: None,
            time: Some(time),
            field: field.to_owned(),
            stand: Stand::Value,
            item: Item::Good(value),
            contact: None,
            kind: EventType::WebhookOther,
            id: None,
        }
    }

    pub(crate) fn has_id(&self) -> bool {
        self.id.is_some()
    }

    /// What tells it from others: of two leaves with one key, only one is told.
    pub(crate) fn key(&self) -> String {
        match &self.id {
            Some(id) => format!("{:?} {id}", self.number),
            None => {
                let Self { account, number, time, field, stand, item, .. } = self;
                // Which chunk told of an error is not part of it.
                let stand = match stand {
                    Stand::ChunkErrors { .. } => "chunk errors".to_owned(),
                    stand => format!("{stand:?}"),
                };
                format!(
                    "{account} {number:?} {time:?} {field} {stand} {:?}",
                    item.value().map(Value::to_string)
                )
            }
        }
    }
}

/// Any leaf that the reference tells of, and some that it doesn't.
pub(crate) fn of_any_kind() -> impl Strategy<Value = Leaf> {
    let place = (0..NUMBERS, 0..5_usize, any::<u64>());
    prop_oneof![
        4 => place.clone().prop_map(|(number, nth, seed)| message::received(number, nth, seed)),
        2 => place.clone().prop_map(|(number, nth, seed)| message::echoed(number, nth, seed)),
        2 => place.clone().prop_map(|(number, nth, seed)| message::of_history(number, nth, seed)),
        4 => place.clone().prop_map(|(number, nth, seed)| status::of_message(number, nth, seed)),
        2 => place.clone().prop_map(|(number, nth, seed)| status::of_call(number, nth, seed)),
        1 => place.clone().prop_map(|(number, _, seed)| status::error(number, seed)),
        3 => place.clone().prop_map(|(number, _, seed)| manage::item(number, seed)),
        3 => place.clone().prop_map(|(number, _, seed)| manage::value(number % ACCOUNTS, seed)),
        1 => place.prop_map(|(number, _, seed)| manage::unknown(number % ACCOUNTS, seed)),
    ]
}
