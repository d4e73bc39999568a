//! What comes back.

use std::fmt;
use std::time::Duration;

use reqwest::StatusCode;
use serde::Deserialize;
use staffetta_domain::{ErrorClass, ProviderError, Wamid};

use super::SendError;

/// The provider took a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The message's id.
    pub wamid: Wamid,
    /// What the provider calls the recipient, if it said: the same number in another spelling (Brazil's ninth digit),
    /// or the user's business-scoped id. Personal data.
    pub called: Option<Called>,
}

/// A recipient's name, as the provider spells it. It does not print.
#[derive(Clone, PartialEq, Eq)]
pub struct Called(String);

impl Called {
    /// The number or id.
    pub fn into_text(self) -> String {
        self.0
    }
}

impl fmt::Debug for Called {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Called(…)")
    }
}

#[derive(Deserialize)]
struct Accepted {
    #[serde(default)]
    contacts: Vec<AcceptedContact>,
    messages: Vec<AcceptedMessage>,
}

#[derive(Deserialize)]
struct AcceptedContact {
    #[serde(default)]
    wa_id: Option<String>,
    #[serde(default)]
    user_id: Option<String>,
}

impl Accepted {
    fn taken(self) -> Option<Taken> {
        let wamid = self.messages.first()?.id.parse().ok()?;
        let contact = self.contacts.into_iter().next();
        let called =
            contact.and_then(|contact| contact.wa_id.or(contact.user_id)).filter(|name| !name.is_empty());
        Some(Taken { wamid, called: called.map(Called) })
    }
}

#[derive(Deserialize)]
struct AcceptedMessage {
    id: String,
}

#[derive(Deserialize)]
struct Refused {
    error: GraphError,
}

#[derive(Deserialize)]
struct GraphError {
    code: i64,
    #[serde(default)]
    error_subcode: Option<i64>,
    #[serde(default)]
    message: Option<String>,
}

/// What a code stands for that the provider did not give.
const NO_CODE: i64 = -1;
/// Longest part of the provider's message that is kept.
const MESSAGE_LIMIT: usize = 200;

/// Reads an answer; `answer` is `None` if it broke off.
pub(super) fn understand(
    status: StatusCode,
    answer: Option<&[u8]>,
    retry_after: Option<Duration>,
) -> Result<Taken, SendError> {
    if status.is_success() {
        let accepted = answer.and_then(|answer| serde_json::from_slice::<Accepted>(answer).ok());
        return accepted
            .and_then(Accepted::taken)
            .ok_or(SendError::NoAnswer("accepted, but the answer cannot be read"));
    }
    let refused = answer.and_then(|answer| serde_json::from_slice::<Refused>(answer).ok());
    let http = status.as_u16();
    let Some(Refused { error }) = refused else { return Err(unclear(http, retry_after)) };
    let error = ProviderError {
        http,
        code: error.code,
        subcode: error.error_subcode,
        message: title(error.message.unwrap_or_default()),
    };
    let class = ErrorClass::of_cloud_api(&error);
    Err(SendError::Refused { error, class, retry_after })
}

/// An answer that is not the Cloud API's own: it comes from something in between.
fn unclear(http: u16, retry_after: Option<Duration>) -> SendError {
    let class = match http {
        // What stands behind it may have taken the message.
        500..=599 => return SendError::NoAnswer("a server error without a clear answer"),
        401 => ErrorClass::Token,
        429 => ErrorClass::Throughput,
        // Nobody has said that the message is wrong.
        _ => ErrorClass::Transient,
    };
    let message = "an answer that is not the Cloud API's".into();
    let error = ProviderError { http, code: NO_CODE, subcode: None, message };
    SendError::Refused { error, class, retry_after }
}

/// The provider's title: short, and without anything that could name a person, such as a phone number.
fn title(message: String) -> String {
    let title: String = message.chars().take(MESSAGE_LIMIT).collect();
    let rest = match title.strip_prefix("(#").and_then(|rest| rest.split_once(')')) {
        Some((code, rest)) if code.bytes().all(|byte| byte.is_ascii_digit()) => rest,
        _ => &title,
    };
    // A number may be written with blanks in it.
    let digits = rest.bytes().filter(u8::is_ascii_digit).count();
    if digits >= 7 || rest.to_ascii_lowercase().contains("wamid") {
        return "(message withheld: it may name a person)".into();
    }
    title
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Result<Taken, SendError> {
        understand(StatusCode::from_u16(status).unwrap(), Some(body.as_bytes()), None)
    }

    #[test]
    fn an_accepted_message_has_its_wamid() {
        let body = r#"{"messaging_product":"whatsapp","contacts":[{"input":"+1","wa_id":"1"}],
                       "messages":[{"id":"wamid.X","message_status":"accepted"}]}"#;
        let taken = answer(200, body).unwrap();
        assert_eq!(taken.wamid.as_str(), "wamid.X");
        assert_eq!(taken.called.unwrap().into_text(), "1");
    }

    #[test]
    fn an_acceptance_need_not_name_the_recipient() {
        for contacts in ["[]", r#"[{"input":"1"}]"#, r#"[{"wa_id":""}]"#] {
            let body = format!(r#"{{"contacts":{contacts},"messages":[{{"id":"wamid.X"}}]}}"#);
            assert_eq!(answer(200, &body).unwrap().called, None, "{contacts}");
        }
        let body = r#"{"contacts":[{"input":"US.1","user_id":"US.1"}],"messages":[{"id":"wamid.X"}]}"#;
        assert_eq!(answer(200, body).unwrap().called.unwrap().into_text(), "US.1");
    }

    #[test]
    fn an_unreadable_acceptance_is_doubt() {
        for body in ["", "{}", r#"{"messages":[]}"#, "<html>"] {
            assert!(matches!(answer(200, body), Err(SendError::NoAnswer(_))), "{body}");
        }
    }

    #[test]
    fn a_server_error_is_doubt_unless_it_speaks() {
        assert!(matches!(answer(502, "<html>"), Err(SendError::NoAnswer(_))));
        let spoken = answer(500, r#"{"error":{"message":"(#131016) Service unavailable","code":131016}}"#);
        assert!(matches!(spoken, Err(SendError::Refused { class: ErrorClass::Transient, .. })));
    }

    #[test]
    fn a_refusal_keeps_code_and_title_but_no_number() {
        let Err(SendError::Refused { error, class, .. }) = answer(
            400,
            r#"{"error":{"message":"no such user +393481213456","code":131026,"error_data":"x"}}"#,
        ) else {
            panic!("not refused")
        };
        assert_eq!((error.code, class), (131_026, ErrorClass::Recipient));
        assert!(!error.message.contains("348"));
    }

    #[test]
    fn a_title_names_nobody() {
        for kept in ["(#131016) Service unavailable", "(#100) Invalid parameter", ""] {
            assert_eq!(title(kept.into()), kept);
        }
        for withheld in ["(#131026) +39 348 121 3456 is no user", "no wamid.HBgL", "(#39348) 121-3456 7"] {
            assert!(title(withheld.into()).starts_with("(message withheld"), "{withheld}");
        }
    }

    #[test]
    fn a_refusal_by_something_in_between_is_not_the_message_s_fault() {
        for (http, wanted) in [
            (301, ErrorClass::Transient),
            (400, ErrorClass::Transient),
            (404, ErrorClass::Transient),
            (401, ErrorClass::Token),
            (429, ErrorClass::Throughput),
        ] {
            let Err(SendError::Refused { class, error, .. }) = answer(http, "<html>") else {
                panic!("not refused")
            };
            assert_eq!((class, error.http), (wanted, http));
        }
    }
}
