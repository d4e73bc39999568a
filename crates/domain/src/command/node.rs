//! One object of a message, and the way to it: what an error names.

use std::ops::RangeInclusive;

use serde_json::Value;

use super::InvalidCommand;
use crate::Object;

/// What a check says.
pub(super) type Checked<T = ()> = Result<T, InvalidCommand>;

/// For texts and lists that only the size of the whole message bounds.
pub(super) const UNBOUNDED: usize = usize::MAX;

/// An object somewhere in a message. A field that is `null` counts as left out.
///
/// Its errors say where it stands and what it must be, and never what it is: that may be personal data. So all names in
/// a path are ours, none is the publisher's.
#[derive(Clone, Copy)]
pub(super) struct Node<'v, 'p> {
    object: &'v Object,
    name: &'static str,
    /// Its place, if it stands in a list of that name.
    index: Option<usize>,
    above: Option<&'p Node<'v, 'p>>,
}

impl<'v> Node<'v, '_> {
    /// The message itself, which is called like its kind.
    ///
    /// # Errors
    /// If it is no object.
    pub(super) fn root(name: &'static str, value: &'v Value) -> Checked<Self> {
        match value {
            Value::Object(object) => Ok(Self { object, name, index: None, above: None }),
            _ => Err(InvalidCommand::new(name, "must be an object")),
        }
    }

    /// The objects of a message that is a list.
    ///
    /// # Errors
    /// If it is no list, too short or too long, or something in it is no object.
    pub(super) fn root_list(
        name: &'static str,
        value: &'v Value,
        count: &RangeInclusive<usize>,
    ) -> Checked<Vec<Self>> {
        list(None, name, value, count)
    }

    /// Where it stands, as in `interactive.action.buttons[2].reply`.
    fn path(&self) -> String {
        path(self.above, self.name, self.index)
    }

    /// Says that this object is not as it must be.
    pub(super) fn wrong(&self, problem: impl Into<String>) -> InvalidCommand {
        InvalidCommand::new(self.path(), problem)
    }

    /// Says that its field `name` is not as it must be.
    pub(super) fn wrong_field(&self, name: &str, problem: impl Into<String>) -> InvalidCommand {
        InvalidCommand::new(self.path() + "." + name, problem)
    }

    /// The field `name`, whatever it is; `None` if it is left out.
    pub(super) fn get(&self, name: &str) -> Option<&'v Value> {
        self.object.get(name).filter(|value| !value.is_null())
    }

    /// The object in the field `name`, if there is one.
    pub(super) fn optional_object<'n>(&'n self, name: &'static str) -> Checked<Option<Node<'v, 'n>>> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Object(object)) => Ok(Some(Node { object, name, index: None, above: Some(self) })),
            Some(_) => Err(self.wrong_field(name, "must be an object")),
        }
    }

    /// The object in the field `name`.
    pub(super) fn object<'n>(&'n self, name: &'static str) -> Checked<Node<'v, 'n>> {
        self.optional_object(name)?.ok_or_else(|| self.wrong_field(name, "is missing"))
    }

    /// The objects of the list in the field `name`; none if it is left out.
    pub(super) fn optional_list<'n>(
        &'n self,
        name: &'static str,
        count: &RangeInclusive<usize>,
    ) -> Checked<Vec<Node<'v, 'n>>> {
        self.get(name).map_or_else(|| Ok(Vec::new()), |value| list(Some(self), name, value, count))
    }

    /// The objects of the list in the field `name`.
    pub(super) fn list<'n>(
        &'n self,
        name: &'static str,
        count: &RangeInclusive<usize>,
    ) -> Checked<Vec<Node<'v, 'n>>> {
        if self.get(name).is_none() {
            return Err(self.wrong_field(name, "is missing"));
        }
        self.optional_list(name, count)
    }

    /// The text in the field `name`, if there is one: it may be empty, and has at most `most` characters.
    pub(super) fn optional_text(&self, name: &str, most: usize) -> Checked<Option<&'v str>> {
        match self.get(name) {
            None => Ok(None),
            // Characters are never more than bytes, and bytes need no counting.
            Some(Value::String(text)) if text.len() <= most || text.chars().count() <= most => Ok(Some(text)),
            Some(Value::String(_)) => {
                Err(self.wrong_field(name, format!("must be at most {most} characters")))
            }
            Some(_) => Err(self.wrong_field(name, "must be a text")),
        }
    }

    /// The text in the field `name`: more than blanks, and at most `most` characters.
    pub(super) fn text(&self, name: &str, most: usize) -> Checked<&'v str> {
        match self.optional_text(name, most)? {
            Some(text) if !text.trim().is_empty() => Ok(text),
            _ => Err(self.wrong_field(name, "is missing or empty")),
        }
    }

    /// Checks that the text in the field `name` is the only one that may stand there.
    pub(super) fn constant(&self, name: &str, wanted: &str) -> Checked {
        if self.text(name, UNBOUNDED)? == wanted {
            Ok(())
        } else {
            Err(self.wrong_field(name, format!("must be {wanted}")))
        }
    }

    /// Checks that the field `name` is `true`, `false` or left out.
    pub(super) fn optional_flag(&self, name: &str) -> Checked {
        match self.get(name) {
            None | Some(Value::Bool(_)) => Ok(()),
            Some(_) => Err(self.wrong_field(name, "must be true or false")),
        }
    }
}

fn path(above: Option<&Node<'_, '_>>, name: &str, index: Option<usize>) -> String {
    let mut path = above.map(|above| above.path() + ".").unwrap_or_default();
    path += name;
    if let Some(index) = index {
        path += &format!("[{index}]");
    }
    path
}

fn list<'v, 'p>(
    above: Option<&'p Node<'v, 'p>>,
    name: &'static str,
    value: &'v Value,
    count: &RangeInclusive<usize>,
) -> Checked<Vec<Node<'v, 'p>>> {
    let place = |index| path(above, name, index);
    let items = match value {
        Value::Array(items) if count.contains(&items.len()) => items,
        _ if *count.end() == UNBOUNDED => return Err(InvalidCommand::new(place(None), "must be a list")),
        _ => {
            let problem = format!("must be a list of {} to {}", count.start(), count.end());
            return Err(InvalidCommand::new(place(None), problem));
        }
    };
    let node = |(index, item): (usize, &'v Value)| match item {
        Value::Object(object) => Ok(Node { object, name, index: Some(index), above }),
        _ => Err(InvalidCommand::new(place(Some(index)), "must be an object")),
    };
    items.iter().enumerate().map(node).collect()
}
