//! How far a command has come.

/// How far a command has come. What its message does afterwards is a [`MessageState`](crate::MessageState).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CommandState {
    /// Waits for its turn, for the first time or again.
    Queued,
    /// A request is on its way, or the process that made it is gone.
    Sending,
    /// A request was made and its answer is not known.
    InDoubt,
    /// The provider took it.
    Accepted,
    /// Staffetta refused it before anything was sent.
    Rejected,
    /// The provider refused it for good, or its tries were used up.
    Failed,
    /// Its time ran out before it could be sent.
    Expired,
    /// The tenant took it back.
    Cancelled,
}

impl CommandState {
    /// All states.
    pub const ALL: [Self; 8] = [
        Self::Queued,
        Self::Sending,
        Self::InDoubt,
        Self::Accepted,
        Self::Rejected,
        Self::Failed,
        Self::Expired,
        Self::Cancelled,
    ];

    /// The state's name in the API and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Sending => "sending",
            Self::InDoubt => "in_doubt",
            Self::Accepted => "accepted",
            Self::Rejected => "rejected",
            Self::Failed => "failed",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
        }
    }

    /// The state of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }

    /// Whether nothing more happens to the command itself.
    pub fn is_final(self) -> bool {
        match self {
            Self::Queued | Self::Sending | Self::InDoubt => false,
            Self::Accepted | Self::Rejected | Self::Failed | Self::Expired | Self::Cancelled => true,
        }
    }
}
