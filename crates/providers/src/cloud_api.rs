//! Meta's Cloud API: the JSON and the HTTP of sending, known nowhere else.

mod answer;
mod number;
mod request;
mod stamp;
mod usage;

use std::time::Duration;

use bytes::Bytes;
use opentelemetry::metrics::Histogram;
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use secrecy::{ExposeSecret, SecretString};
use staffetta_domain::{ErrorClass, ProviderError};
use tokio::time::Instant;

use crate::measure::Requests;
pub use answer::{Called, Taken};
pub use request::message_body;
pub use stamp::{Fence, WriteStamp, Written};
use stamp::{StampedBody, boot_time};
pub use usage::Usage;

/// One pooled client for every channel of a process.
#[derive(Clone, Debug)]
pub struct CloudApi {
    http: reqwest::Client,
    base: String,
    requests: Requests,
}

/// What came of a send.
#[derive(Debug)]
pub struct Answer {
    /// Whether the message was taken, may have been sent, or was not.
    pub result: Result<Taken, SendError>,
    /// How much of its quotas the provider says is used up.
    pub usage: Usage,
    /// The HTTP status, if there was an answer at all.
    pub status: Option<u16>,
}

/// How a send ended when it was not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SendError {
    /// The provider refused it: nothing was sent.
    Refused {
        /// What it said.
        error: ProviderError,
        /// What that means for the command.
        class: ErrorClass,
        /// How long to wait, if the provider named a time.
        retry_after: Option<Duration>,
    },
    /// The request never left this process: nothing was sent.
    NotSent(&'static str),
    /// The request left and no clear answer came: it may have been sent.
    NoAnswer(&'static str),
}

/// Longest time to reach the provider.
const CONNECT: Duration = Duration::from_secs(5);
/// How long an idle connection is kept. Shorter than servers keep theirs, so that few requests meet a closing one.
const IDLE: Duration = Duration::from_secs(20);
/// Largest answer that is read.
const MAX_ANSWER: usize = 256 << 10;

impl CloudApi {
    /// A client for `base_url` and `version`; no request takes longer than `timeout`.
    ///
    /// # Errors
    /// If TLS can't be set up, as without any trusted authority.
    pub fn new(base_url: &str, version: &str, timeout: Duration) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .timeout(timeout)
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(1024)
            .tcp_nodelay(true)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .user_agent(concat!("staffetta/", env!("CARGO_PKG_VERSION")))
            .build()?;
        let base = format!("{}/{}", base_url.trim_end_matches('/'), version.trim_matches('/'));
        Ok(Self { http, base, requests: Requests::default() })
    }

    /// Measures each request in `duration`, with the labels of the semantic conventions and `peer="provider"`.
    #[must_use]
    pub fn measured(self, duration: Histogram<f64>) -> Self {
        Self { requests: Requests::of(duration), ..self }
    }

    /// Sends one message, as [`message_body`] wrote it, from `phone_number_id`. `stamp` tells afterwards when the
    /// request left; `fence` is asked right before it does.
    pub async fn send(
        &self,
        phone_number_id: &str,
        token: &SecretString,
        body: Bytes,
        stamp: WriteStamp,
        fence: Fence,
    ) -> Answer {
        let (mut usage, mut status) = (Usage::default(), None);
        let heard = (&mut usage, &mut status);
        let result = self.try_send(phone_number_id, token, body, (stamp, fence), heard).await;
        Answer { result, usage, status }
    }

    async fn try_send(
        &self,
        phone_number_id: &str,
        token: &SecretString,
        body: Bytes,
        (stamp, fence): (WriteStamp, Fence),
        (usage, answered): (&mut Usage, &mut Option<u16>),
    ) -> Result<Taken, SendError> {
        let Some(authorization) = bearer(token) else {
            stamp.void();
            let message = "the token is not a token".into();
            let error = ProviderError { http: 0, code: 190, subcode: None, message };
            return Err(SendError::Refused { error, class: ErrorClass::Token, retry_after: None });
        };
        let request = self
            .http
            .post(format!("{}/{phone_number_id}/messages", self.base))
            .header(AUTHORIZATION, authorization)
            .header(CONTENT_TYPE, "application/json")
            .body(reqwest::Body::wrap(StampedBody::new(body, stamp.clone(), fence)));
        let begun = Instant::now();
        let sent = request.send().await;
        // One that the fence kept back was no request.
        let failed = sent.as_ref().is_err_and(|error| !error.is_connect() && !error.is_timeout());
        if !(failed && stamp.void()) {
            self.requests.ended(&Method::POST, begun, &sent);
        }
        let response = match sent {
            Ok(response) => response,
            Err(_) if stamp.void() => return Err(SendError::NotSent("the provider could not be reached")),
            Err(error) if error.is_timeout() => return Err(SendError::NoAnswer("no answer in time")),
            Err(_) => return Err(SendError::NoAnswer("the connection broke before the answer")),
        };
        stamp.answer(boot_time());
        // An answer without the request's body having been asked for is a refusal at the edge.
        stamp.void();
        let status = response.status();
        *answered = Some(status.as_u16());
        let retry_after = response.headers().get(RETRY_AFTER).and_then(seconds);
        *usage = Usage::of(response.headers());
        let answer = read(response).await;
        answer::understand(status, answer.as_deref(), retry_after)
    }
}

/// What shows the token; `None` if it is no text that fits into a header.
pub(crate) fn bearer(token: &SecretString) -> Option<HeaderValue> {
    let mut authorization = HeaderValue::from_str(&format!("Bearer {}", token.expose_secret())).ok()?;
    authorization.set_sensitive(true);
    Some(authorization)
}

fn seconds(value: &HeaderValue) -> Option<Duration> {
    let seconds: u64 = value.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds.min(3600)))
}

/// The whole answer; `None` if it broke off or is too large.
async fn read(mut response: reqwest::Response) -> Option<Vec<u8>> {
    let mut answer = Vec::new();
    while let Some(chunk) = response.chunk().await.ok()? {
        answer.extend_from_slice(&chunk);
        if answer.len() > MAX_ANSWER {
            return None;
        }
    }
    Some(answer)
}
