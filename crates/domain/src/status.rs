//! Where a message stands, and why that never runs backwards.

/// Where a message stands. The order of the variants is the order of the states: a message only ever moves up.
///
/// `failed` stands between `sent` and `delivered`: it ends a message that was sent, and a later (or earlier) word
/// that the message was delivered wins over it. So the same statuses in any order end in the same state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MessageState {
    /// The provider took it.
    Accepted = 1,
    /// It left for the user.
    Sent = 2,
    /// It will not arrive.
    Failed = 3,
    /// It reached the user's device.
    Delivered = 4,
    /// The user saw it.
    Read = 5,
    /// The user listened to it.
    Played = 6,
    /// The user wrote it.
    Received = 7,
}

impl MessageState {
    /// All states, in order.
    pub const ALL: [Self; 7] =
        [Self::Accepted, Self::Sent, Self::Failed, Self::Delivered, Self::Read, Self::Played, Self::Received];

    /// The state that a status of that name leads to; `None` for a status that moves nothing, like `deleted`.
    pub fn of_status(name: &str) -> Option<Self> {
        [Self::Sent, Self::Failed, Self::Delivered, Self::Read, Self::Played]
            .into_iter()
            .find(|state| state.as_str() == name)
    }

    /// The state's name in the API and in events.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Sent => "sent",
            Self::Failed => "failed",
            Self::Delivered => "delivered",
            Self::Read => "read",
            Self::Played => "played",
            Self::Received => "received",
        }
    }

    /// The state's place in the order, as the database keeps it.
    pub fn rank(self) -> i16 {
        self as i16
    }

    /// The state of that rank.
    pub fn from_rank(rank: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.rank() == rank)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_its_own_rank_and_comes_back_from_it() {
        for state in MessageState::ALL {
            assert_eq!(MessageState::from_rank(state.rank()), Some(state));
        }
        assert_eq!(MessageState::from_rank(0), None);
    }

    #[test]
    fn a_delivery_overrules_a_failure() {
        assert!(MessageState::Failed > MessageState::Sent);
        assert!(MessageState::Delivered > MessageState::Failed);
    }
}
