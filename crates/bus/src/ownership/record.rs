//! What stands in the bucket LEASES.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Group, PARTS};

/// What an entry is about. Every group but SEND's has its own name before its keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// `member.<id>`: a process's heartbeat.
    Member(String),
    /// `part.<number>`: who owns that part.
    Part(u16),
}

impl Key {
    /// `None` for a key of another group, or one that this version does not know.
    pub(super) fn parse(group: Group, key: &str) -> Option<Self> {
        match key.strip_prefix(group.prefix())?.split_once('.')? {
            ("member", id) => Some(Self::Member(id.into())),
            ("part", number) => number.parse().ok().filter(|number| *number < PARTS).map(Self::Part),
            _ => None,
        }
    }
}

pub(super) fn member_key(group: Group, id: &str) -> String {
    format!("{}member.{id}", group.prefix())
}

pub(super) fn part_key(group: Group, part: u16) -> String {
    format!("{}part.{part}", group.prefix())
}

/// How a member fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Life {
    /// It takes its share.
    Live,
    /// It gives back what it has, and still keeps the rest of it.
    Leaving,
    /// It was silent for too long: what it owned is free, and it can never renew again.
    Dead,
}

#[derive(Serialize, Deserialize)]
struct MemberRecord {
    state: Life,
}

impl Life {
    pub(super) fn to_json(self) -> Bytes {
        serde_json::to_vec(&MemberRecord { state: self }).expect("one plain field").into()
    }

    /// An entry of another version is of a member that takes no share as far as this one knows.
    pub(super) fn read(json: &[u8]) -> Self {
        serde_json::from_slice(json).map_or(Self::Leaving, |record: MemberRecord| record.state)
    }
}

/// Who owns a part.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PartRecord {
    /// The member that took it last.
    pub(super) owner: String,
    /// Whether that member gave it back.
    pub(super) released: bool,
    /// What the last owner that gave it back left for the next one. Base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    handover: Option<String>,
}

impl PartRecord {
    /// The part as the member `owner` takes it. What was handed over stays in the entry, in case the taker has to read
    /// its own entry because the answer was lost.
    pub(super) fn taken(owner: &str, from: Option<&Self>) -> Self {
        let from = from.filter(|from| from.released || from.owner == owner);
        let handover = from.and_then(|from| from.handover.clone());
        Self { owner: owner.into(), released: false, handover }
    }

    /// The part as its owner gives it back.
    pub(super) fn released(owner: &str, handover: Option<&Bytes>) -> Self {
        let handover = handover.map(|bytes| BASE64_STANDARD.encode(bytes));
        Self { owner: owner.into(), released: true, handover }
    }

    pub(super) fn has_handover(&self) -> bool {
        self.handover.is_some()
    }

    pub(super) fn handover(&self) -> Option<Bytes> {
        BASE64_STANDARD.decode(self.handover.as_ref()?).ok().map(Bytes::from)
    }

    pub(super) fn to_json(&self) -> Bytes {
        serde_json::to_vec(self).expect("three plain fields").into()
    }

    /// An entry of another version is of an owner that nobody knows.
    pub(super) fn read(json: &[u8]) -> Self {
        serde_json::from_slice(json).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_groups_do_not_see_each_other() {
        for group in [Group::Send, Group::Deliver] {
            assert_eq!(Key::parse(group, &part_key(group, 7)), Some(Key::Part(7)));
            assert_eq!(Key::parse(group, &member_key(group, "a/0")), Some(Key::Member("a/0".into())));
        }
        assert_eq!(part_key(Group::Send, 7), "part.7", "two versions run side by side");
        for (group, other) in [(Group::Send, Group::Deliver), (Group::Deliver, Group::Send)] {
            assert_eq!(Key::parse(group, &part_key(other, 7)), None);
            assert_eq!(Key::parse(group, &member_key(other, "a")), None);
        }
    }
}
