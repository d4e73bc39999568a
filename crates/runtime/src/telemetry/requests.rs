//! HTTP requests, in the words of the semantic conventions.

use std::time::Duration;

use axum::http::{Method, StatusCode};
use opentelemetry::metrics::Histogram;
use opentelemetry::{KeyValue, StringValue};

use super::seconds;

/// The requests that a process answers: `http.server.request.duration`. Clones share the instrument.
#[derive(Clone, Debug)]
pub struct Served(Histogram<f64>);

impl Default for Served {
    fn default() -> Self {
        Self(seconds("http.server.request.duration", "From a request's head to its answer"))
    }
}

impl Served {
    /// A request to `route`, one of few, was answered; `method` is a [`method_label`].
    pub fn answered(
        &self,
        method: &'static str,
        route: impl Into<StringValue>,
        status: StatusCode,
        time: Duration,
    ) {
        let method = KeyValue::new("http.request.method", method);
        let route = KeyValue::new("http.route", route.into());
        let code = KeyValue::new("http.response.status_code", i64::from(status.as_u16()));
        let time = time.as_secs_f64();
        if status.is_server_error() {
            let error = KeyValue::new("error.type", status.as_str().to_owned());
            self.0.record(time, &[method, route, code, error]);
        } else {
            self.0.record(time, &[method, route, code]);
        }
    }
}

/// The semantic conventions' `http.client.request.duration`: requests that a process makes.
pub fn requested() -> Histogram<f64> {
    seconds("http.client.request.duration", "From a request to its answer")
}

/// A method as a label: others than these there may be any number of.
pub fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "_OTHER",
    }
}
