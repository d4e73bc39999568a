//! What a webhook is told.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

/// How a webhook ended. Each has one answer, and one value of the metric's `outcome`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// NATS has it: 200.
    Stored,
    /// No app of that name.
    UnknownApp,
    /// The app has nothing to verify with.
    NoSecret,
    /// The body is over the limit.
    TooLarge,
    /// The signature is missing, malformed or wrong.
    Unauthorized,
    /// The verify token, or something else of a verification, is wrong.
    Forbidden,
    /// The body did not arrive in time.
    Timeout,
    /// The connection broke within the body.
    Broken,
    /// NATS is not connected, or refuses.
    Unavailable,
    /// NATS is connected but did not answer in time.
    Slow,
    /// The stream, or the memory that bodies may take, is full.
    Full,
    /// Even compressed, NATS does not take a message of that size.
    Unstorable,
}

impl Outcome {
    /// The value of the attribute `outcome`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::UnknownApp => "unknown_app",
            Self::NoSecret => "no_secret",
            Self::TooLarge => "too_large",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::Timeout => "timeout",
            Self::Broken => "broken",
            Self::Unavailable => "unavailable",
            Self::Slow => "slow",
            Self::Full => "full",
            Self::Unstorable => "unstorable",
        }
    }

    fn problem(self) -> Option<Problem> {
        let problem = |status, slug, title| Some(Problem { status, slug, title, retry_after: None });
        let later = |slug, title, seconds| {
            let status = StatusCode::SERVICE_UNAVAILABLE;
            Some(Problem { status, slug, title, retry_after: Some(seconds) })
        };
        match self {
            Self::Stored => None,
            Self::UnknownApp => problem(StatusCode::NOT_FOUND, "unknown-app", "no such app"),
            Self::NoSecret => later("app-not-ready", "the app is not ready to take webhooks", "60"),
            Self::TooLarge => {
                problem(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", "the body is over 3 MiB")
            }
            Self::Unauthorized => problem(
                StatusCode::UNAUTHORIZED,
                "wrong-signature",
                "X-Hub-Signature-256 does not fit the body",
            ),
            Self::Forbidden => problem(StatusCode::FORBIDDEN, "wrong-verify-token", "not verified"),
            Self::Timeout => {
                problem(StatusCode::REQUEST_TIMEOUT, "body-too-slow", "the body did not arrive in time")
            }
            Self::Broken => problem(StatusCode::BAD_REQUEST, "body-broken", "the body did not arrive whole"),
            Self::Unavailable => later("queue-unavailable", "the queue is not available", "5"),
            Self::Slow => later("queue-slow", "the queue did not answer in time", "5"),
            Self::Full => later("queue-full", "the queue is full", "10"),
            Self::Unstorable => later("body-unstorable", "the queue takes no body of this size", "600"),
        }
    }
}

impl IntoResponse for Outcome {
    fn into_response(self) -> Response {
        match self.problem() {
            None => StatusCode::OK.into_response(),
            Some(problem) => problem.into_response(),
        }
    }
}

/// An error's answer, after RFC 9457.
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    pub(crate) slug: &'static str,
    pub(crate) title: &'static str,
    /// Seconds.
    pub(crate) retry_after: Option<&'static str>,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Self { status, slug, title, retry_after } = self;
        let code = status.as_u16();
        let text = format!(r#"{{"type":"/problems/{slug}","title":"{title}","status":{code}}}"#);
        let mut response = (status, text).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(seconds));
        }
        response
    }
}
