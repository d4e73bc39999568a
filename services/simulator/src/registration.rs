//! Whether a number is registered for sending, and its two-step PIN.

use std::collections::VecDeque;

use crate::graph_error::GraphError;
use crate::limits::SECOND_US;

/// So many registrations and deregistrations in 72 hours are taken.
const MOST: usize = 10;
const SPAN_US: u64 = 72 * 3_600 * SECOND_US;

/// A number's registration. Registered from the start, without a PIN.
#[derive(Debug, Default)]
pub(crate) struct Registration {
    gone: bool,
    pin: Option<String>,
    calls: VecDeque<u64>,
}

impl Registration {
    pub(crate) fn is_registered(&self) -> bool {
        !self.gone
    }

    pub(crate) fn has_pin(&self) -> bool {
        self.pin.is_some()
    }

    pub(crate) fn set_pin(&mut self, pin: String) {
        self.pin = Some(pin);
    }

    /// Fails with 133005 on another PIN than the number's, with 133016 on too many calls.
    pub(crate) fn register(&mut self, pin: String, at: u64) -> Result<(), GraphError> {
        self.count(at)?;
        if self.pin.as_ref().is_some_and(|known| *known != pin) {
            return Err(GraphError::of(133_005));
        }
        self.pin = Some(pin);
        self.gone = false;
        Ok(())
    }

    /// Fails with 133010 when the number is not registered, with 133016 on too many calls.
    pub(crate) fn deregister(&mut self, at: u64) -> Result<(), GraphError> {
        self.count(at)?;
        if self.gone {
            return Err(GraphError::of(133_010));
        }
        self.gone = true;
        Ok(())
    }

    fn count(&mut self, at: u64) -> Result<(), GraphError> {
        self.calls.retain(|&call| call + SPAN_US > at);
        if self.calls.len() >= MOST {
            return Err(GraphError::of(133_016));
        }
        self.calls.push_back(at);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_calls_in_three_days_are_taken() {
        let mut registration = Registration::default();
        for at in 0..5 {
            registration.deregister(at).unwrap();
            registration.register("123456".to_owned(), at).unwrap();
        }
        assert_eq!(registration.deregister(5).unwrap_err().code, 133_016);
        registration.deregister(SPAN_US).unwrap();
        assert!(!registration.is_registered() && registration.has_pin());
    }
}
