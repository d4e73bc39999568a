//! What a publisher is answered: a command's end, on a subject of the tenant's own.
//!
//! JetStream answers a publish itself, and keeps no reply subject: whoever wants to hear of the end names a subject in a
//! header, which waits on SEND with the command.

use std::time::Duration;

use async_nats::HeaderMap;
use staffetta_domain::{Event, InvalidCommand, TenantId};
use tokio::time::timeout;
use tracing::debug;

use crate::Bus;
use crate::codec::{Encoding, event_message};

/// The header that names where a command's end is to be answered.
pub const REPLY_TO: &str = "Staffetta-Reply-To";

/// Longest wait until the connection takes an answer.
const TAKEN: Duration = Duration::from_millis(100);
/// Longest subject of an answer.
const LONGEST: usize = 256;

/// What all subjects begin with that answers to a tenant may go to, up to the next dot.
pub(crate) fn answers_to(tenant: &TenantId) -> String {
    format!("staffetta.v1.answer.{tenant}")
}

/// What the replies that a tenant's connection waits for begin with, up to the next dot: the client's inbox prefix.
pub fn inbox_prefix(tenant: &TenantId) -> String {
    format!("_INBOX_{tenant}")
}

/// Where, and how, a command's publisher wants to hear of its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplyTo {
    subject: String,
    encoding: Encoding,
}

impl ReplyTo {
    /// What a command's headers say; the answer is written as the command was.
    ///
    /// # Errors
    /// If the subject is not the tenant's own, or none that can be published to.
    pub fn of(headers: &HeaderMap, tenant: &TenantId) -> Result<Option<Self>, InvalidCommand> {
        let Some(subject) = headers.get(REPLY_TO) else { return Ok(None) };
        let subject = subject.as_str();
        let own = subject.strip_prefix(&answers_to(tenant)).and_then(|rest| rest.strip_prefix('.'));
        let fits = |rest: &str| {
            subject.len() <= LONGEST
                && rest.split('.').all(|token| {
                    !token.is_empty()
                        && token.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'*' | b'>'))
                })
        };
        if own.is_some_and(fits) {
            Ok(Some(Self { subject: subject.to_owned(), encoding: Encoding::of(Some(headers)) }))
        } else {
            let problem = "must be a subject below staffetta.v1.answer. and the tenant's id";
            Err(InvalidCommand::new(REPLY_TO, problem))
        }
    }
}

impl Bus {
    /// Answers a command's publisher. Best effort: nobody may listen any more, and the event is on EVENTS all the same.
    pub async fn answer(&self, to: &ReplyTo, event: &Event) {
        if !self.is_connected() {
            return;
        }
        let (headers, payload) = event_message(event, to.encoding);
        let told = self.client().publish_with_headers(to.subject.clone(), headers, payload);
        match timeout(TAKEN, told).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                debug!(error = &error as &dyn std::error::Error, "a publisher was not answered")
            }
            Err(_) => debug!("a publisher was not answered: the connection takes nothing more"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_goes_to_the_tenants_own_subjects_alone() {
        let acme = "acme".parse().unwrap();
        let of = |subject: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(REPLY_TO, subject);
            ReplyTo::of(&headers, &acme)
        };
        assert_eq!(ReplyTo::of(&HeaderMap::new(), &acme), Ok(None));
        assert!(of("staffetta.v1.answer.acme.x1.2").unwrap().is_some());
        for other in [
            "",
            "staffetta.v1.answer.acme",
            "staffetta.v1.answer.acme.",
            "staffetta.v1.answer.acme..x",
            "staffetta.v1.answer.acme.>",
            "staffetta.v1.answer.acme.*",
            "staffetta.v1.answer.acme2.x",
            "staffetta.v1.answer.beta.x",
            "staffetta.v1.send.beta.orders.urgent",
            "_INBOX_acme.x",
            "staffetta.v1.answer.acme.a b",
        ] {
            assert_eq!(of(other).unwrap_err().field, REPLY_TO, "{other}");
        }
    }
}
