//! The text that travels with a message through the provider and comes back in each of its statuses.

use aws_lc_rs::digest;

use crate::{CommandId, TenantId};

/// Names the command and the try that a status belongs to. Visible to the provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Callback {
    /// The command.
    pub command: CommandId,
    /// Which try, from 1.
    pub attempt: u32,
    /// Of which tenant's commands it is one; `None` in texts that were written before they said so.
    owner: Option<Box<str>>,
}

impl Callback {
    /// The text for a try of a tenant's command.
    pub fn new(tenant: &TenantId, command: CommandId, attempt: u32) -> Self {
        Self { command, attempt, owner: Some(owner(tenant)) }
    }

    /// Whether it may name a command of that tenant. A number may have gone to another tenant since the message was sent,
    /// and two tenants may use the same id.
    pub fn is_of(&self, tenant: &TenantId) -> bool {
        self.owner.as_ref().is_none_or(|known| *known == owner(tenant))
    }

    /// `st2:<owner>:<attempt>:<command>`, at most 161 characters.
    pub fn encode(&self) -> String {
        let Self { command, attempt, owner } = self;
        match owner {
            Some(owner) => format!("st2:{owner}:{attempt}:{command}"),
            None => format!("st1:{attempt}:{command}"),
        }
    }

    /// Reads a text that [`encode`](Self::encode) wrote; `None` for everybody else's.
    pub fn decode(raw: &str) -> Option<Self> {
        let (owner, rest) = match raw.strip_prefix("st2:") {
            Some(rest) => {
                let (owner, rest) = rest.split_once(':')?;
                (Some(owner.into()), rest)
            }
            None => (None, raw.strip_prefix("st1:")?),
        };
        let (attempt, command) = rest.split_once(':')?;
        Some(Self { command: command.parse().ok()?, attempt: attempt.parse().ok()?, owner })
    }
}

/// The first 16 hexadecimal digits of a digest: the provider need not know who the tenants are.
fn owner(tenant: &TenantId) -> Box<str> {
    hex::encode(&digest::digest(&digest::SHA256, tenant.as_str().as_bytes()).as_ref()[..8]).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_nothing_else() {
        let (acme, beta) = ("acme".parse().unwrap(), "beta".parse().unwrap());
        let callback = Callback::new(&acme, "a:b:1".parse().unwrap(), 3);
        assert!(callback.is_of(&acme) && !callback.is_of(&beta));
        assert_eq!(Callback::decode(&callback.encode()), Some(callback));
        let before = Callback::decode("st1:3:a:b:1").unwrap();
        assert_eq!((before.attempt, before.command.as_str()), (3, "a:b:1"));
        assert!(before.is_of(&acme) && before.is_of(&beta));
        for foreign in ["", "st1", "st1:x:y", "st2:1:a", "st2:0:x:a", "st3:0:1:a", "st1:1:", "{\"order\":1}"]
        {
            assert_eq!(Callback::decode(foreign), None, "{foreign}");
        }
    }
}
