//! What the provider answers, without anything in it that opens its doors.

use reqwest::Response;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::CallError;

/// The provider's own error. It may name a person: not for logs.
#[derive(Clone, PartialEq)]
pub struct Refusal {
    /// The status of its answer.
    pub status: u16,
    /// The provider's code; 0 is also what stands for none.
    pub code: i64,
    /// The code's subcode.
    pub subcode: Option<i64>,
    /// The answer whole, `{"error": {…}}`.
    pub body: Value,
}

impl Refusal {
    /// Whether the provider says that there is no such thing, or none that this token reaches.
    pub fn is_not_there(&self) -> bool {
        self.code == 33 || (self.code == 100 && self.subcode == Some(33))
    }
}

impl std::fmt::Debug for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Refusal")
            .field("status", &self.status)
            .field("code", &self.code)
            .field("subcode", &self.subcode)
            .finish_non_exhaustive()
    }
}

/// Largest answer that is read: lists of templates are long.
const LARGEST: usize = 4 << 20;

/// Reads the whole answer.
pub(super) async fn read(mut response: Response, token: &SecretString) -> Result<Value, CallError> {
    let status = response.status().as_u16();
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() <= LARGEST => body.extend_from_slice(&chunk),
            Ok(Some(_)) => return Err(CallError::NoAnswer("the provider's answer is too large")),
            Ok(None) => break,
            Err(_) => return Err(CallError::NoAnswer("the provider's answer broke off")),
        }
    }
    understand(status, &body, token)
}

fn understand(status: u16, body: &[u8], token: &SecretString) -> Result<Value, CallError> {
    let answer = serde_json::from_slice(body).ok().filter(Value::is_object);
    let Some(mut answer) = answer else {
        // What stands in between may have lost the answer to something that was done.
        return Err(match status {
            401 => CallError::Token,
            _ => CallError::NoAnswer("the provider's answer is not the Cloud API's"),
        });
    };
    cut_out(&mut answer, token.expose_secret());
    match (status, answer.get("error").is_some_and(Value::is_object)) {
        (200..300, false) => Ok(answer),
        (_, true) => Err(refused(status, answer)),
        (_, false) => Err(CallError::NoAnswer("the provider's answer is not the Cloud API's")),
    }
}

fn refused(status: u16, body: Value) -> CallError {
    let number = |name: &str| body["error"].get(name).and_then(Value::as_i64);
    let (code, subcode) = (number("code").unwrap_or(0), number("error_subcode"));
    match code {
        0 | 190 => CallError::Token,
        _ if status == 401 => CallError::Token,
        _ => CallError::Refused(Box::new(Refusal { status, code, subcode, body })),
    }
}

/// Takes the token out of every text. Lists carry it in their links to other pages.
fn cut_out(value: &mut Value, token: &str) {
    match value {
        Value::String(text) if !token.is_empty() && text.contains(token) => *text = text.replace(token, ""),
        Value::Array(items) => items.iter_mut().for_each(|item| cut_out(item, token)),
        Value::Object(fields) => fields.values_mut().for_each(|field| cut_out(field, token)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer(status: u16, body: &str) -> Result<Value, CallError> {
        understand(status, body.as_bytes(), &"EAAsecret".into())
    }

    #[test]
    fn no_token_comes_back() {
        let body = r#"{"data":[{"a":"EAAsecret"}],"paging":{"next":"https://g.example/1?access_token=EAAsecret&after=x"}}"#;
        let expected = json!({
            "data": [{"a": ""}], "paging": {"next": "https://g.example/1?access_token=&after=x"},
        });
        assert_eq!(answer(200, body).unwrap(), expected);
        let Err(CallError::Refused(refusal)) =
            answer(400, r#"{"error":{"code":100,"error_subcode":33,"message":"EAAsecret?"}}"#)
        else {
            panic!("not refused")
        };
        assert_eq!(refusal.body["error"]["message"], "?");
        assert!(refusal.is_not_there() && !format!("{refusal:?}").contains('?'));
    }

    #[test]
    fn a_token_that_is_not_taken_is_told_from_a_refusal() {
        for (status, body) in [
            (401, r#"{"error":{"code":190,"message":"x"}}"#),
            (400, r#"{"error":{"code":190}}"#),
            (401, r#"{"error":{"code":0}}"#),
            (401, r#"{"error":{"code":102}}"#),
            (401, "<html>"),
        ] {
            assert!(matches!(answer(status, body), Err(CallError::Token)), "{status} {body}");
        }
        let refused = answer(400, r#"{"error":{"code":80007}}"#);
        assert!(matches!(refused, Err(CallError::Refused(refusal)) if refusal.code == 80_007));
    }

    #[test]
    fn what_is_not_the_cloud_api_s_is_no_answer() {
        for (status, body) in [(200, ""), (200, "[]"), (502, "<html>"), (302, "{}"), (500, "{}"), (404, "{}")]
        {
            assert!(matches!(answer(status, body), Err(CallError::NoAnswer(_))), "{status} {body}");
        }
        assert!(matches!(answer(200, r#"{"error":{"code":1}}"#), Err(CallError::Refused(_))));
    }
}
