//! The kinds of entries, as addresses name them.

use std::str::FromStr;

use staffetta_bus::Entry;

/// A kind of entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Apps,
    Tenants,
    Channels,
    Endpoints,
}

impl Kind {
    /// The beginning of the keys of such entries.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Apps => "app",
            Self::Tenants => "tenant",
            Self::Channels => "channel",
            Self::Endpoints => "endpoint",
        }
    }

    /// The key of such an entry.
    pub(super) fn key(self, id: &str) -> String {
        format!("{}.{id}", self.word())
    }

    /// The entry's id, if it is of this kind.
    pub(super) fn id_of(self, entry: &Entry) -> Option<String> {
        let key = entry.key();
        let (kind, id) = key.split_once('.')?;
        (kind == self.word()).then(|| id.to_owned())
    }
}

impl FromStr for Kind {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        match name {
            "apps" => Ok(Self::Apps),
            "tenants" => Ok(Self::Tenants),
            "channels" => Ok(Self::Channels),
            "endpoints" => Ok(Self::Endpoints),
            _ => Err(()),
        }
    }
}
