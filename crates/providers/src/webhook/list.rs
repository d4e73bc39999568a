//! Where in a change's value leaves stand.

/// The list that a leaf is an item of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum List {
    Messages,
    Echoes,
    Statuses,
    Errors,
    Calls,
    /// A message in a thread of an item of `history`.
    HistoryMessages,
    /// Why an item of `history` has no threads.
    HistoryErrors,
    /// An item of `history`, or what is left of it, that holds neither messages nor errors.
    HistoryItems,
    StateSync,
    Preferences,
    UserIds,
    AutomaticEvents,
    Groups,
    /// The leaf is the value as a whole.
    Whole,
}

impl List {
    /// The lists that a value of that field is made of; none for a field whose value is one leaf. `has` says whether
    /// the value has a field of some name.
    pub(super) fn of_field(field: Option<&str>, has: impl Fn(&str) -> bool) -> &'static [Self] {
        match field {
            Some("messages") => &[Self::Messages, Self::Statuses, Self::Errors],
            // Some of Meta's own samples have lost it.
            None if has("messages") || has("statuses") => &[Self::Messages, Self::Statuses, Self::Errors],
            Some("smb_message_echoes" | "message_echoes") => &[Self::Echoes, Self::Errors],
            Some("calls") => &[Self::Calls, Self::Statuses, Self::Errors],
            Some("history") => &[Self::HistoryItems, Self::Errors],
            Some("smb_app_state_sync") => &[Self::StateSync, Self::Errors],
            Some("user_preferences") => &[Self::Preferences, Self::Errors],
            Some("user_id_update") => &[Self::UserIds, Self::Errors],
            Some("automatic_events") => &[Self::AutomaticEvents, Self::Errors],
            Some(field) if field.starts_with("group_") => &[Self::Groups, Self::Errors],
            _ => &[],
        }
    }

    /// The name of the list in the value, if it stands there.
    pub(super) fn name(self) -> Option<&'static str> {
        match self {
            Self::Messages => Some("messages"),
            Self::Echoes => Some("message_echoes"),
            Self::Statuses => Some("statuses"),
            Self::Errors => Some("errors"),
            Self::Calls => Some("calls"),
            Self::HistoryItems => Some("history"),
            Self::StateSync => Some("state_sync"),
            Self::Preferences => Some("user_preferences"),
            Self::UserIds => Some("user_id_update"),
            Self::AutomaticEvents => Some("automatic_events"),
            Self::Groups => Some("groups"),
            Self::HistoryMessages | Self::HistoryErrors | Self::Whole => None,
        }
    }

    /// What tells the list from others in keys.
    pub(super) fn path(self) -> &'static str {
        match self {
            Self::HistoryMessages => "history.threads.messages",
            Self::HistoryErrors => "history.errors",
            list => list.name().unwrap_or("value"),
        }
    }

    /// Whether its leaves are one user's business with one number: told to everybody in the account they would be told
    /// to strangers. They have an id of their own.
    pub(super) fn needs_number(self) -> bool {
        matches!(self, Self::Messages | Self::Echoes | Self::Statuses | Self::Calls | Self::HistoryMessages)
    }

    /// Whether a contact that came alone with a leaf of the list must be its user.
    pub(super) fn has_people(self) -> bool {
        matches!(
            self,
            Self::Messages | Self::Echoes | Self::Statuses | Self::Calls | Self::Preferences | Self::UserIds
        )
    }
}
