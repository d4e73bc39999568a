//! What can go wrong, as Meta says it.

use axum::Json;
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use staffetta_providers::graph::Refusal;
use tracing::warn;
use uuid::Uuid;

use crate::problem::Told;
use crate::provider::{AskError, UploadError};

/// An error on its way to a client of the Cloud API.
#[derive(Debug)]
pub(crate) enum GraphError {
    /// Ours.
    Ours(Box<Words>),
    /// The provider's own, as it is.
    Theirs(Box<Refusal>),
}

/// What an error of ours says.
#[derive(Debug)]
pub(crate) struct Words {
    status: StatusCode,
    code: u32,
    subcode: Option<u32>,
    kind: &'static str,
    message: String,
    details: Option<String>,
    retry_after: Option<u32>,
}

impl GraphError {
    /// The error of this code, in Meta's words, and more of ours.
    fn of(status: StatusCode, code: u32, details: impl Into<String>) -> Self {
        let title = match code {
            2 => "Service temporarily unavailable",
            4 => "Application request limit reached",
            10 => "Application does not have permission for this action",
            100 => "Invalid parameter",
            130_429 => "Rate limit hit",
            131_008 => "Required parameter is missing",
            131_009 => "Parameter value is not valid",
            131_026 => "Message undeliverable",
            _ => "Something went wrong",
        };
        let subcode = (code == 130_429).then_some(2_494_055);
        Self::Ours(Box::new(Words {
            status,
            code,
            subcode,
            kind: "OAuthException",
            message: format!("(#{code}) {title}"),
            details: Some(details.into()),
            retry_after: None,
        }))
    }

    /// An error that the Graph API itself gives, and no part of WhatsApp's.
    fn of_graph(status: StatusCode, code: u32, kind: &'static str, message: String) -> Self {
        let words = Words { status, code, subcode: None, kind, message, details: None, retry_after: None };
        Self::Ours(Box::new(words))
    }

    /// A parameter is not as it must be.
    pub(super) fn parameter(details: impl Into<String>) -> Self {
        Self::of(StatusCode::BAD_REQUEST, 100, details)
    }

    /// A parameter of the request frame is missing.
    pub(super) fn required(parameter: &str) -> Self {
        Self::parameter(format!("The parameter {parameter} is required."))
    }

    /// A part of the message is not as it must be.
    pub(super) fn value(details: impl Into<String>) -> Self {
        Self::of(StatusCode::BAD_REQUEST, 131_009, details)
    }

    /// It can't be done now, and nothing was.
    pub(super) fn unavailable(details: impl Into<String>) -> Self {
        Self::of(StatusCode::SERVICE_UNAVAILABLE, 2, details).retry_after(2)
    }

    /// There is no such object, or it is not the caller's: nobody learns which.
    pub(super) fn not_there(method: &Method, id: &str) -> Self {
        let method = method.as_str().to_ascii_lowercase();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
        let id = if id.len() <= 64 && id.bytes().all(plain) { id } else { "" };
        let message = format!(
            "Unsupported {method} request. Object with ID '{id}' does not exist, cannot be loaded due to missing \
             permissions, or does not support this operation. Please read the Graph API documentation at \
             https://developers.facebook.com/docs/graph-api"
        );
        let mut words = Self::of_graph(StatusCode::BAD_REQUEST, 100, "GraphMethodException", message);
        if let Self::Ours(words) = &mut words {
            words.subcode = Some(33);
        }
        words
    }

    /// There is nothing at this address, for anybody.
    pub(super) fn unknown_path(path: &str) -> Self {
        let short: String = path.chars().take(100).collect();
        let message = format!("Unknown path components: {short}");
        Self::of_graph(StatusCode::BAD_REQUEST, 2_500, "OAuthException", message)
    }

    fn retry_after(mut self, seconds: u32) -> Self {
        if let Self::Ours(words) = &mut self {
            words.retry_after = Some(seconds);
        }
        self
    }

    /// What the provider was asked and did not do. `id` is what the client asked for.
    pub(super) fn of_ask(error: AskError, method: &Method, id: &str) -> Self {
        match error {
            AskError::NotYours | AskError::NoChannel | AskError::OtherProvider | AskError::NoFile => {
                Self::not_there(method, id)
            }
            AskError::Refused(refusal) => Self::Theirs(refusal),
            AskError::NoToken(_) | AskError::BadToken(_) | AskError::NoAnswer(_) => {
                warn!(error = error.to_string(), "a request could not be passed on to the provider");
                Self::unavailable(error.to_string())
            }
            AskError::TooMany => Self::of(StatusCode::TOO_MANY_REQUESTS, 4, error.to_string()).retry_after(1),
        }
    }

    /// Why a file was not uploaded.
    pub(super) fn of_upload(error: UploadError, id: &str) -> Self {
        match error {
            UploadError::Ask(error) => Self::of_ask(error, &Method::POST, id),
            UploadError::UnknownField(name) => {
                Self::parameter(format!("Unexpected key \"{name}\" on param \"request\"."))
            }
            UploadError::NoForm => Self::required("messaging_product"),
            UploadError::Broken
            | UploadError::LongField(_)
            | UploadError::NoFile
            | UploadError::NoType
            | UploadError::TooLarge(_)
            | UploadError::Slow
            | UploadError::Stopped(_) => Self::parameter(error.to_string()),
        }
    }

    /// A problem that was told in our own words.
    pub(super) fn translated(status: StatusCode, told: &Told, method: &Method, path: &str) -> Self {
        let detail = told.detail.as_str();
        match told.slug {
            "unauthorized" => Self::of_graph(
                StatusCode::UNAUTHORIZED,
                190,
                "OAuthException",
                "Invalid OAuth access token - Cannot parse access token".to_owned(),
            ),
            "forbidden" => Self::of(StatusCode::FORBIDDEN, 10, detail),
            "not-found" => Self::unknown_path(path.trim_start_matches("/graph")),
            "method-not-allowed" | "channel-not-found" | "media-not-found" => {
                Self::not_there(method, path.split('/').nth(3).unwrap_or_default())
            }
            "invalid-message" => Self::invalid(told),
            "recipient-switched-off" => Self::of(StatusCode::BAD_REQUEST, 131_026, detail),
            "queue-full" => Self::of(StatusCode::TOO_MANY_REQUESTS, 130_429, detail),
            "rate-limited" => Self::of(StatusCode::TOO_MANY_REQUESTS, 4, detail),
            // Nobody can say whether the message was taken.
            "in-doubt" => Self::of(StatusCode::SERVICE_UNAVAILABLE, 131_000, detail),
            _ if status == StatusCode::SERVICE_UNAVAILABLE => Self::of(status, 2, detail),
            _ if status.is_server_error() => Self::of(status, 131_000, detail),
            _ => Self::parameter(detail),
        }
    }

    /// A message that can't be sent as it is.
    fn invalid(told: &Told) -> Self {
        let ours = told.field.as_deref().unwrap_or_default();
        let problem = told.detail.strip_prefix(ours).and_then(|rest| rest.strip_prefix(": "));
        let problem = problem.unwrap_or(&told.detail);
        let field = match ours {
            "reply_to" => "context.message_id",
            "callback_data" => "biz_opaque_callback_data",
            "payload" => return Self::parameter(format!("The request body {problem}")),
            field => field,
        };
        let missing = problem.starts_with("is missing");
        match field {
            "to" | "type" if missing => Self::required(field),
            "type" | "recipient_type" => Self::parameter(format!("Param {field} {problem}")),
            _ if missing => {
                Self::of(StatusCode::BAD_REQUEST, 131_008, format!("Parameter '{field}' {problem}"))
            }
            _ => Self::value(format!("Parameter '{field}' {problem}")),
        }
    }
}

impl Words {
    fn body(&self) -> Value {
        let mut error = json!({ "message": self.message, "type": self.kind, "code": self.code });
        if let Some(subcode) = self.subcode {
            error["error_subcode"] = json!(subcode);
        }
        if let Some(details) = &self.details {
            error["error_data"] = json!({ "messaging_product": "whatsapp", "details": details });
        }
        if self.code == 2 {
            error["is_transient"] = json!(true);
        }
        error["fbtrace_id"] = json!(format!("A{}", URL_SAFE_NO_PAD.encode(Uuid::now_v7().as_bytes())));
        json!({ "error": error })
    }
}

impl IntoResponse for GraphError {
    fn into_response(self) -> Response {
        match self {
            Self::Ours(words) => {
                let mut response = (words.status, Json(words.body())).into_response();
                if let Some(seconds) = words.retry_after {
                    response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
                }
                response
            }
            Self::Theirs(refusal) => {
                let status = StatusCode::from_u16(refusal.status).ok();
                let status = status.filter(|status| status.is_client_error() || status.is_server_error());
                (status.unwrap_or(StatusCode::BAD_REQUEST), Json(refusal.body)).into_response()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translated(status: u16, slug: &'static str, field: Option<&str>, detail: &str) -> (u16, Value) {
        let told = Told { slug, detail: detail.to_owned(), field: field.map(str::to_owned) };
        let status = StatusCode::from_u16(status).unwrap();
        let error = GraphError::translated(status, &told, &Method::POST, "/graph/v24.0/100/messages");
        let GraphError::Ours(words) = error else { panic!("the provider's") };
        (words.status.as_u16(), words.body()["error"].clone())
    }

    #[test]
    fn each_problem_has_metas_code() {
        for (status, slug, wanted) in [
            (401, "unauthorized", (401, 190)),
            (403, "forbidden", (403, 10)),
            (404, "channel-not-found", (400, 100)),
            (405, "method-not-allowed", (400, 100)),
            (404, "not-found", (400, 2500)),
            (413, "too-large", (400, 100)),
            (422, "recipient-switched-off", (400, 131_026)),
            (429, "queue-full", (429, 130_429)),
            (429, "rate-limited", (429, 4)),
            (503, "unavailable", (503, 2)),
            (503, "in-doubt", (503, 131_000)),
            (500, "internal", (500, 131_000)),
        ] {
            let (status, error) = translated(status, slug, None, "x");
            assert_eq!((status, error["code"].as_i64().unwrap()), wanted, "{slug}");
            assert!(error["fbtrace_id"].is_string() && error["type"].is_string(), "{error}");
        }
        let (_, error) = translated(404, "channel-not-found", None, "x");
        assert_eq!((&error["error_subcode"], &error["type"]), (&json!(33), &json!("GraphMethodException")));
        assert!(
            error["message"].as_str().unwrap().starts_with("Unsupported post request. Object with ID '100'")
        );
    }

    #[test]
    fn fields_have_the_names_that_the_client_knows() {
        for (field, problem, code, details) in [
            ("to", "is missing", 100, "The parameter to is required."),
            ("type", "must be one of text", 100, "Param type must be one of text"),
            ("payload", "must be an object", 100, "The request body must be an object"),
            ("text.body", "is missing or empty", 131_008, "Parameter 'text.body' is missing or empty"),
            ("reply_to", "is too long", 131_009, "Parameter 'context.message_id' is too long"),
            ("callback_data", "is too long", 131_009, "Parameter 'biz_opaque_callback_data' is too long"),
        ] {
            let (status, error) =
                translated(422, "invalid-message", Some(field), &format!("{field}: {problem}"));
            assert_eq!((status, &error["code"]), (400, &json!(code)), "{field}");
            assert_eq!(error["error_data"]["details"], details, "{field}");
        }
    }

    #[test]
    fn nothing_strange_is_told_back() {
        let GraphError::Ours(words) = GraphError::not_there(&Method::GET, "<script>") else { panic!() };
        assert!(words.message.contains("ID ''"), "{}", words.message);
    }
}
