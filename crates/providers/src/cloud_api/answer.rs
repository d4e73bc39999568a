//! What comes back.

use std::time::Duration;

use reqwest::StatusCode;
use serde::Deserialize;
use staffetta_domain::{ErrorClass, ProviderError, Wamid};

use super::SendError;

#[derive(Deserialize)]
struct Accepted {
    messages: Vec<AcceptedMessage>,
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
) -> Result<Wamid, SendError> {
    if status.is_success() {
        let accepted = answer.and_then(|answer| serde_json::from_slice::<Accepted>(answer).ok());
        let wamid = accepted.and_then(|accepted| accepted.messages.first()?.id.parse().ok());
        return wamid.ok_or(SendError::NoAnswer("accepted, but the answer cannot be read"));
    }
    let refused = answer.and_then(|answer| serde_json::from_slice::<Refused>(answer).ok());
    let error = match refused {
        Some(Refused { error }) => ProviderError {
            http: status.as_u16(),
            code: error.code,
            subcode: error.error_subcode,
            message: title(error.message.unwrap_or_default()),
        },
        // An edge's own page: what stands behind it may have taken the message.
        None if status.is_server_error() => {
            return Err(SendError::NoAnswer("a server error without a clear answer"));
        }
        None => ProviderError { http: status.as_u16(), code: NO_CODE, subcode: None, message: String::new() },
    };
    let class = ErrorClass::of_cloud_api(&error);
    Err(SendError::Refused { error, class, retry_after })
}

/// The provider's title: short, and without anything that could be a phone number.
fn title(message: String) -> String {
    let mut title: String = message.chars().take(MESSAGE_LIMIT).collect();
    let digits = |text: &str| text.bytes().filter(u8::is_ascii_digit).count();
    if title
        .split(|c: char| c.is_whitespace() || c == ',')
        .any(|word| digits(word) >= 7 && !word.starts_with("(#"))
    {
        title = "(message withheld: it may name a person)".into();
    }
    title
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Result<Wamid, SendError> {
        understand(StatusCode::from_u16(status).unwrap(), Some(body.as_bytes()), None)
    }

    #[test]
    fn an_accepted_message_has_its_wamid() {
        let body = r#"{"messaging_product":"whatsapp","contacts":[{"input":"+1","wa_id":"1"}],
                       "messages":[{"id":"wamid.X","message_status":"accepted"}]}"#;
        assert_eq!(answer(200, body).unwrap().as_str(), "wamid.X");
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
        assert_eq!((error.code, class), (131_026, ErrorClass::Permanent));
        assert!(!error.message.contains("348"));
    }
}
