//! How long requests to the provider take, by method and answer. The address is left out: it names numbers.

use opentelemetry::KeyValue;
use opentelemetry::metrics::Histogram;
use reqwest::{Error, Method, Response};
use tokio::time::Instant;

/// Where requests are measured, if they are.
#[derive(Clone, Debug, Default)]
pub(crate) struct Requests(Option<Histogram<f64>>);

impl Requests {
    pub(crate) fn of(duration: Histogram<f64>) -> Self {
        Self(Some(duration))
    }

    /// Notes a request of `method` that was begun then and has the head of its answer, or has failed.
    pub(crate) fn ended(&self, method: &Method, begun: Instant, outcome: &Result<Response, Error>) {
        let Some(duration) = &self.0 else { return };
        let method = match *method {
            Method::GET => "GET",
            Method::POST => "POST",
            Method::DELETE => "DELETE",
            _ => "_OTHER",
        };
        let seconds = begun.elapsed().as_secs_f64();
        let labels = |more: &[KeyValue]| {
            let all = [KeyValue::new("http.request.method", method), KeyValue::new("peer", "provider")];
            [&all, more].concat()
        };
        match outcome {
            Ok(response) => {
                let status = response.status().as_u16();
                let answered = KeyValue::new("http.response.status_code", i64::from(status));
                match failure_of(status) {
                    None => duration.record(seconds, &labels(&[answered])),
                    Some(failure) => {
                        duration.record(seconds, &labels(&[answered, KeyValue::new("error.type", failure)]));
                    }
                }
            }
            Err(error) => duration.record(seconds, &labels(&[KeyValue::new("error.type", name(error))])),
        }
    }
}

/// What the semantic conventions call a status that is no success: its number.
fn failure_of(status: u16) -> Option<String> {
    (status >= 400).then(|| status.to_string())
}

fn name(error: &Error) -> &'static str {
    match error {
        _ if error.is_connect() => "connect",
        _ if error.is_timeout() => "timeout",
        _ => "broken",
    }
}
