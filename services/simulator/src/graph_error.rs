//! The errors of the Graph API: codes, HTTP statuses, bodies.

use axum::http::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};

/// Why Meta refuses something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GraphError {
    pub(crate) code: u32,
    subcode: Option<u32>,
    details: String,
}

impl GraphError {
    /// The error of this code, with the words Meta uses for it.
    pub(crate) fn of(code: u32) -> Self {
        Self::with(code, words(code).1)
    }

    pub(crate) fn with(code: u32, details: impl Into<String>) -> Self {
        let subcode = match code {
            130_429 => Some(2_494_055),
            131_056 => Some(2_494_071),
            _ => None,
        };
        Self { code, subcode, details: details.into() }
    }

    /// No such object, or not with this token.
    pub(crate) fn unknown_object(id: &str) -> Self {
        let details = format!(
            "Unsupported request. Object with ID '{id}' does not exist, cannot be loaded due to missing \
             permissions, or does not support this operation"
        );
        Self { code: 100, subcode: Some(33), details }
    }

    /// A required parameter of the request frame is missing.
    pub(crate) fn required(parameter: &str) -> Self {
        Self::with(100, format!("The parameter {parameter} is required."))
    }

    /// A parameter of the message itself is missing.
    pub(crate) fn missing(parameter: &str, owner: &str) -> Self {
        Self::with(131_008, format!("Parameter '{parameter}' is mandatory for '{owner}'"))
    }

    /// A parameter has a value that is not allowed.
    pub(crate) fn invalid(details: impl Into<String>) -> Self {
        Self::with(131_009, details)
    }

    /// A parameter is misspelt, of the wrong kind or too long.
    pub(crate) fn parameter(details: impl Into<String>) -> Self {
        Self::with(100, details)
    }

    /// The HTTP status that goes with the code.
    pub(crate) fn status(&self) -> StatusCode {
        match self.code {
            0 | 190 => StatusCode::UNAUTHORIZED,
            10 | 200..=299 | 368 | 130_403 | 130_497 | 131_005 | 131_031 | 131_207 => StatusCode::FORBIDDEN,
            2 | 133_004 => StatusCode::SERVICE_UNAVAILABLE,
            3 | 131_000 | 131_016 | 131_045 | 131_057 | 133_000 | 134_102 | 139_103 => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
            132_001 => StatusCode::NOT_FOUND,
            131_208 => StatusCode::TOO_MANY_REQUESTS,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// The body of the answer.
    pub(crate) fn body(&self, trace_id: &str) -> Value {
        let title = words(self.code).0;
        if matches!(self.code, 190 | 2_500) || self.subcode == Some(33) {
            // These come from the Graph API itself and have no error_data.
            let mut error = json!({
                "message": self.details,
                "type": if self.subcode == Some(33) { "GraphMethodException" } else { "OAuthException" },
                "code": self.code,
                "fbtrace_id": trace_id,
            });
            if let Some(subcode) = self.subcode {
                error["error_subcode"] = json!(subcode);
            }
            return json!({ "error": error });
        }
        let mut error = json!({
            "message": format!("(#{}) {title}", self.code),
            "type": "OAuthException",
            "code": self.code,
            "error_data": { "messaging_product": "whatsapp", "details": self.details },
            "is_transient": self.code == 2,
            "fbtrace_id": trace_id,
        });
        if let Some(subcode) = self.subcode {
            error["error_subcode"] = json!(subcode);
        }
        json!({ "error": error })
    }

    /// The same error inside a `failed` status.
    pub(crate) fn in_status(&self) -> StatusError {
        let title = words(self.code).0;
        StatusError {
            code: self.code,
            title,
            message: title,
            error_data: ErrorData { details: self.details.clone() },
            href: "https://developers.facebook.com/docs/whatsapp/cloud-api/support/error-codes/",
        }
    }
}

/// An error as `statuses[].errors[]` carries it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct StatusError {
    code: u32,
    title: &'static str,
    message: &'static str,
    error_data: ErrorData,
    href: &'static str,
}

#[derive(Clone, Debug, Serialize)]
struct ErrorData {
    details: String,
}

/// Title and details of a code.
fn words(code: u32) -> (&'static str, &'static str) {
    match code {
        0 => ("AuthException", "We were unable to authenticate the app user."),
        1 => ("API Unknown", "Invalid request or possible server error."),
        2 => ("API Service", "Temporary due to downtime or due to being overloaded."),
        3 => ("API Method", "Capability or permissions issue."),
        4 => ("API Too Many Calls", "The app has reached its API call rate limit."),
        10 => ("Permission Denied", "Permission is either not granted or has been removed."),
        33 => ("Parameter value is not valid", "The business phone number has been deleted."),
        100 => {
            ("Invalid parameter", "The request included one or more unsupported or misspelled parameters.")
        }
        190 => ("Access token has expired", "Invalid OAuth access token - Cannot parse access token"),
        368 => ("Temporarily blocked for policies violations", "The account is restricted or disabled."),
        2_500 => ("Unknown path components", "Unknown path components"),
        80_007 => ("Rate limit issues", "The WhatsApp Business Account has reached its rate limit."),
        130_403 => ("User blocked the business", "The recipient has blocked this business."),
        130_429 => ("Rate limit hit", "Cloud API message throughput has been reached."),
        130_472 => {
            ("User's number is part of an experiment", "Message was not sent as part of an experiment.")
        }
        130_497 => {
            ("Business account is restricted from messaging users in this country", "Country restricted.")
        }
        131_000 => ("Something went wrong", "Message failed to send due to an unknown error."),
        131_005 => ("Access denied", "Permission is either not granted or has been removed."),
        131_008 => ("Required parameter is missing", "The request is missing a required parameter."),
        131_009 => ("Parameter value is not valid", "One or more parameter values are invalid."),
        131_016 => ("Service unavailable", "A service is temporarily unavailable."),
        131_021 => ("Recipient cannot be sender", "Sender and recipient phone number is the same."),
        131_026 => ("Message undeliverable", "Unable to deliver message."),
        131_030 => {
            ("Recipient phone number not in allowed list", "The recipient is not in the allowed list.")
        }
        131_031 => {
            ("Account has been locked", "The account was restricted or its data could not be verified.")
        }
        131_042 => {
            ("Business eligibility payment issue", "There was an error related to your payment method.")
        }
        131_045 => ("Incorrect certificate", "Message failed due to a phone number registration error."),
        131_047 => (
            "Re-engagement message",
            "Message failed to send because more than 24 hours have passed since the customer last replied to \
             this number.",
        ),
        131_048 => ("Spam rate limit hit", "Too many previous messages were blocked or flagged as spam."),
        131_049 => (
            "This message was not delivered to maintain healthy ecosystem engagement.",
            "In order to maintain a healthy ecosystem engagement, the message failed to be delivered.",
        ),
        131_050 => ("User has stopped marketing messages", "The recipient opted out of marketing messages."),
        131_051 => ("Unsupported message type", "Message type is not currently supported."),
        131_052 => ("Media download error", "Failed to download the media from the sender."),
        131_053 => ("Media upload error", "Failed to upload the media used in the message."),
        131_056 => (
            "(Business Account, Consumer Account) pair rate limit hit",
            "Too many messages sent from the sender phone number to the same recipient phone number in a short \
             period of time.",
        ),
        131_057 => ("Account in maintenance mode", "Business Account is in maintenance mode."),
        131_059 => ("Invalid paging cursor", "The paging cursor is not valid: start again without one."),
        131_062 => ("Recipient not supported", "A business-scoped user id can't receive this message."),
        131_215 => ("Groups not available", "The phone number is not eligible for groups."),
        132_000 => ("Number of parameters does not match the expected number of params", "Count mismatch."),
        132_001 => ("Template name does not exist in the translation", "The template does not exist."),
        132_005 => ("Translated text too long", "The filled-in text is too long."),
        132_007 => ("Template format character policy violated", "Template content violates a policy."),
        132_012 => ("Template parameter format mismatch", "Parameter format does not match format."),
        132_015 => ("Template is paused", "Template is paused due to low quality."),
        132_016 => ("Template is disabled", "Template was paused too often and is now disabled."),
        133_005 => ("Two step verification PIN mismatch", "Two-step verification PIN incorrect."),
        133_010 => {
            ("Phone number not registered", "Phone number not registered on the WhatsApp Business Platform.")
        }
        133_016 => (
            "Account register deregister rate limit exceeded",
            "Registration or deregistration failed because there were too many attempts for this phone number.",
        ),
        135_000 => ("Generic user error", "Message failed because of an unknown error with your parameters."),
        137_000 => ("Identity hash mismatch", "The recipient's identity does not match the given hash."),
        _ => ("Simulated error", "The simulator was told to answer with this code."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_throttle_is_an_http_400_with_metas_body() {
        let error = GraphError::of(130_429);
        assert_eq!(error.status(), StatusCode::BAD_REQUEST);
        assert_eq!(
            error.body("T"),
            json!({"error": {
                "message": "(#130429) Rate limit hit", "type": "OAuthException", "code": 130_429,
                "error_data": {
                    "messaging_product": "whatsapp", "details": "Cloud API message throughput has been reached.",
                },
                "error_subcode": 2_494_055, "is_transient": false, "fbtrace_id": "T",
            }})
        );
    }

    #[test]
    fn a_bad_token_is_an_http_401() {
        let error = GraphError::of(190);
        assert_eq!(error.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(error.body("T")["error"]["type"], "OAuthException");
        assert_eq!(error.body("T")["error"]["code"], 190);
    }
}
