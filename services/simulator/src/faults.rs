//! Faults on demand: what goes wrong, for whom, how often.

use std::time::Duration;

use rand::rngs::SmallRng;
use serde::{Deserialize, Serialize};

use crate::chance::happens;
use crate::limits::SECOND_US;
use crate::options::{InvalidOption, check_probability};

/// More faults than this at once are refused: each send looks at all of them.
pub(crate) const MAX_FAULTS: usize = 1_000;

/// Something that goes wrong with sends, until its count or time is used up.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Fault {
    /// What goes wrong.
    #[serde(flatten)]
    pub kind: FaultKind,
    /// Only for this phone number id.
    #[serde(default)]
    pub phone_number_id: Option<String>,
    /// Only for this recipient: a phone number, or a business-scoped user id.
    #[serde(default)]
    pub recipient: Option<String>,
    /// How likely it is to strike a send it applies to.
    #[serde(default = "certain")]
    pub probability: f64,
    /// How many sends it strikes before it is over.
    #[serde(default)]
    pub count: Option<u64>,
    /// How long it lasts from when it was made, in milliseconds.
    #[serde(default)]
    pub for_ms: Option<u64>,
    /// The seconds in the `Retry-After` of an answer that it refuses. Meta documents no such header.
    #[serde(default)]
    pub retry_after_s: Option<u32>,
}

fn certain() -> f64 {
    1.0
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum FaultKind {
    /// The answer takes this much longer. Goes together with another fault.
    Slow {
        /// Milliseconds.
        delay_ms: u64,
    },
    /// The send is refused with this code: 130429, 131000, 131016, 131057, 190, …
    Error {
        /// Meta's error code.
        code: u32,
    },
    /// The send is accepted and its statuses follow, but the answer is this error.
    AcceptThenError {
        /// Meta's error code.
        code: u32,
    },
    /// The send is accepted, then fails with this code in a status.
    FailedStatus {
        /// Meta's error code.
        code: u32,
    },
    /// Not accepted; the answer is a 502 with an HTML body.
    #[serde(rename = "html_502")]
    Html502,
    /// Accepted, statuses follow; the connection closes without an answer.
    AcceptThenCut,
    /// Not accepted; the connection closes without an answer.
    CutBeforeAccept,
}

impl Fault {
    /// This fault for every send, until it is removed.
    #[must_use]
    pub fn always(kind: FaultKind) -> Self {
        Self {
            kind,
            phone_number_id: None,
            recipient: None,
            probability: 1.0,
            count: None,
            for_ms: None,
            retry_after_s: None,
        }
    }

    /// This fault for the next `count` sends.
    #[must_use]
    pub fn times(kind: FaultKind, count: u64) -> Self {
        Self { count: Some(count), ..Self::always(kind) }
    }

    /// Fails on a probability outside 0 to 1.
    pub fn check(&self) -> Result<(), InvalidOption> {
        check_probability("probability", self.probability)
    }
}

/// What strikes one send.
#[derive(Debug, Default)]
pub(crate) struct Strike {
    pub(crate) delay: Duration,
    pub(crate) kind: Option<FaultKind>,
    pub(crate) retry_after_s: Option<u32>,
}

/// The faults that are in force.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    active: Vec<(Fault, Option<u64>)>,
}

impl Faults {
    /// Puts a fault in force; false when there are too many already.
    pub(crate) fn add(&mut self, fault: Fault, now: u64) -> bool {
        if self.active.len() >= MAX_FAULTS {
            return false;
        }
        let until = fault.for_ms.map(|ms| now.saturating_add(ms.saturating_mul(SECOND_US / 1000)));
        self.active.push((fault, until));
        true
    }

    pub(crate) fn clear(&mut self) {
        self.active.clear();
    }

    pub(crate) fn list(&self) -> Vec<Fault> {
        self.active.iter().map(|(fault, _)| fault.clone()).collect()
    }

    /// Decides what strikes this send. Waits add up; of the rest the oldest that applies wins.
    pub(crate) fn strike(&mut self, number: &str, recipient: &str, now: u64, rng: &mut SmallRng) -> Strike {
        let mut strike = Strike::default();
        self.active.retain(|(fault, until)| fault.count != Some(0) && until.is_none_or(|until| now < until));
        for (fault, _) in &mut self.active {
            let applies = fault.phone_number_id.as_deref().is_none_or(|wanted| wanted == number)
                && fault.recipient.as_deref().is_none_or(|wanted| wanted == recipient);
            if !applies {
                continue;
            }
            let taken = strike.kind.is_some() && !matches!(fault.kind, FaultKind::Slow { .. });
            if !happens(rng, fault.probability) || taken {
                continue;
            }
            if let Some(count) = &mut fault.count {
                *count -= 1; // a count of 0 was removed above
            }
            match fault.kind {
                FaultKind::Slow { delay_ms } => strike.delay += Duration::from_millis(delay_ms),
                kind => {
                    strike.kind = Some(kind);
                    strike.retry_after_s = fault.retry_after_s;
                }
            }
        }
        strike
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::{Purpose, generator};

    fn strike(faults: &mut Faults, number: &str, recipient: &str, now: u64) -> Option<FaultKind> {
        faults.strike(number, recipient, now, &mut generator(1, number, Purpose::Send, now)).kind
    }

    #[test]
    fn a_fault_strikes_as_often_as_it_was_told_to() {
        let mut faults = Faults::default();
        faults.add(Fault::times(FaultKind::Html502, 2), 0);
        assert_eq!(strike(&mut faults, "1", "39", 0), Some(FaultKind::Html502));
        assert_eq!(strike(&mut faults, "1", "39", 1), Some(FaultKind::Html502));
        assert_eq!(strike(&mut faults, "1", "39", 2), None);
    }

    #[test]
    fn a_fault_keeps_to_its_number_recipient_and_time() {
        let mut faults = Faults::default();
        let fault = Fault {
            phone_number_id: Some("1".to_owned()),
            recipient: Some("39".to_owned()),
            for_ms: Some(1),
            ..Fault::always(FaultKind::Error { code: 131_057 })
        };
        faults.add(fault, 0);
        assert_eq!(strike(&mut faults, "2", "39", 0), None);
        assert_eq!(strike(&mut faults, "1", "40", 0), None);
        assert_eq!(strike(&mut faults, "1", "39", 999), Some(FaultKind::Error { code: 131_057 }));
        assert_eq!(strike(&mut faults, "1", "39", 1_000), None);
    }

    #[test]
    fn waits_add_up_and_go_with_another_fault() {
        let mut faults = Faults::default();
        faults.add(Fault::always(FaultKind::Slow { delay_ms: 5 }), 0);
        faults.add(Fault::always(FaultKind::AcceptThenCut), 0);
        faults.add(Fault::always(FaultKind::Slow { delay_ms: 6 }), 0);
        let strike = faults.strike("1", "39", 0, &mut generator(1, "1", Purpose::Send, 0));
        assert_eq!(strike.delay, Duration::from_millis(11));
        assert_eq!(strike.kind, Some(FaultKind::AcceptThenCut));
    }

    #[test]
    fn a_fault_reads_as_flat_json() {
        let fault: Fault = serde_json::from_str(r#"{"kind":"error","code":131000,"count":3}"#).unwrap();
        assert_eq!(fault.kind, FaultKind::Error { code: 131_000 });
        assert_eq!(fault.count, Some(3));
        let fault: Fault = serde_json::from_str(r#"{"kind":"html_502","probability":0.5}"#).unwrap();
        assert_eq!(fault.kind, FaultKind::Html502);
    }
}
