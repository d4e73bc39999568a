//! A command's priority.

use std::fmt;
use std::str::FromStr;

use crate::InvalidId;

/// A command's priority, and the last token of its subject on SEND.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lane {
    /// Overtakes everything else of its channel.
    Urgent,
    /// What a person waits for.
    #[default]
    Normal,
    /// Campaigns.
    Bulk,
}

impl Lane {
    /// All lanes, the most urgent first.
    pub const ALL: [Self; 3] = [Self::Urgent, Self::Normal, Self::Bulk];

    /// The lane's name in subjects, JSON and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Urgent => "urgent",
            Self::Normal => "normal",
            Self::Bulk => "bulk",
        }
    }
}

impl FromStr for Lane {
    type Err = InvalidId;

    fn from_str(raw: &str) -> Result<Self, InvalidId> {
        Self::ALL
            .into_iter()
            .find(|lane| lane.as_str() == raw)
            .ok_or(InvalidId { what: "lane", problem: "must be urgent, normal or bulk" })
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
