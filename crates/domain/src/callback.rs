//! The text that travels with a message through the provider and comes back in each of its statuses.

use crate::CommandId;

/// Names the command and the try that a status belongs to. Visible to the provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Callback {
    /// The command.
    pub command: CommandId,
    /// Which try, from 1.
    pub attempt: u32,
}

impl Callback {
    /// `st1:<attempt>:<command>`, at most 144 characters.
    pub fn encode(&self) -> String {
        format!("st1:{}:{}", self.attempt, self.command)
    }

    /// Reads a text that [`encode`](Self::encode) wrote; `None` for everybody else's.
    pub fn decode(raw: &str) -> Option<Self> {
        let (attempt, command) = raw.strip_prefix("st1:")?.split_once(':')?;
        Some(Self { command: command.parse().ok()?, attempt: attempt.parse().ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_nothing_else() {
        let callback = Callback { command: "a:b:1".parse().unwrap(), attempt: 3 };
        assert_eq!(Callback::decode(&callback.encode()), Some(callback));
        for foreign in ["", "st1", "st1:x:y", "st2:1:a", "st1:1:", "{\"order\":1}"] {
            assert_eq!(Callback::decode(foreign), None, "{foreign}");
        }
    }
}
