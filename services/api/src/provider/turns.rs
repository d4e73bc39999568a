//! How many requests of one tenant are with the provider at a time: one that asks for much must not leave the others
//! without connections.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use staffetta_domain::TenantId;

use super::AskError;

/// Most requests of one tenant.
const MOST: usize = 32;

/// The turns that are taken.
#[derive(Clone, Debug, Default)]
pub(crate) struct Turns(Arc<Mutex<HashMap<TenantId, usize>>>);

/// One request's turn. It ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    turns: Turns,
    tenant: TenantId,
}

impl Turns {
    /// Takes a turn.
    ///
    /// # Errors
    /// When the tenant has as many as may be.
    pub(crate) fn take(&self, tenant: &TenantId) -> Result<Turn, AskError> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = taken.entry(tenant.clone()).or_default();
        if *own >= MOST {
            return Err(AskError::TooMany);
        }
        *own += 1;
        Ok(Turn { turns: self.clone(), tenant: tenant.clone() })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut taken = self.turns.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = taken.get_mut(&self.tenant) {
            *own -= 1;
            if *own == 0 {
                taken.remove(&self.tenant);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_has_so_many_turns_and_others_have_theirs() {
        let (turns, acme, other) = (Turns::default(), "acme".parse().unwrap(), "other".parse().unwrap());
        let mut taken: Vec<Turn> = (0..MOST).map(|_| turns.take(&acme).unwrap()).collect();
        assert!(turns.take(&acme).is_err());
        drop(turns.take(&other).unwrap());
        taken.pop();
        drop(turns.take(&acme).unwrap());
        drop(taken);
        assert!(turns.0.lock().unwrap().is_empty());
    }
}
