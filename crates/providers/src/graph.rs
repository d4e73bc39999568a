//! Meta's Graph API for everything but sending: what is asked of it for whoever owns a number, and files.
//!
//! What comes back holds no access token, whatever the provider wrote into its links.

mod answer;
mod download;
mod form;
mod health;
mod place;

use std::time::Duration;

use opentelemetry::metrics::Histogram;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use reqwest::{Client, Method, RequestBuilder, Response, Url};
use secrecy::SecretString;
use serde_json::Value;
use tokio::time::Instant;

pub use self::answer::Refusal;
pub use self::download::Download;
pub use self::form::{Form, FormBody, Stopped, form};
pub use self::health::{MANAGEMENT, MESSAGING, NumberHealth, SubscribedApp, TokenHealth};
use self::place::{PublicAlone, Way};
use crate::cloud_api::bearer;
use crate::measure::Requests;

/// Longest time for a question and its whole answer.
pub const CALL_TIME: Duration = Duration::from_secs(7);
/// Longest time for a file, from the question for it to its last byte.
pub const FILE_TIME: Duration = Duration::from_secs(300);
/// Largest file that the provider takes or gives, in bytes.
pub const LARGEST_FILE: u64 = 100 << 20;

/// Longest time to reach the provider.
const CONNECT: Duration = Duration::from_secs(5);
/// How long an idle connection is kept.
const IDLE: Duration = Duration::from_secs(20);

/// One pooled client for every number of a process.
#[derive(Clone, Debug)]
pub struct Graph {
    http: Client,
    /// For files that lie at an address which only the provider's answer names.
    outside: Client,
    base: Url,
    version: String,
    requests: Requests,
}

/// Why there is no client for the provider.
#[derive(Debug, thiserror::Error)]
pub enum GraphSetUpError {
    /// The address is none.
    #[error("graph.base_url is not an address that can be asked")]
    Address,
    /// TLS can't be set up, as without any trusted authority.
    #[error("the client for the provider can't be set up")]
    Client(#[from] reqwest::Error),
}

/// Why the provider did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// It said no.
    #[error("the provider refuses it")]
    Refused(Box<Refusal>),
    /// It does not take the token: that is for whoever runs the channel to mend.
    #[error("the provider does not take the channel's access token")]
    Token,
    /// There is no such file, or no longer.
    #[error("the provider has no such file")]
    Gone,
    /// No clear answer could be had. What was asked may have been done.
    #[error("{0}")]
    NoAnswer(&'static str),
}

impl Graph {
    /// A client for `base_url` and `version`. Nothing is asked yet.
    ///
    /// # Errors
    /// If `base_url` is no address of the web, or TLS can't be set up.
    pub fn new(base_url: &str, version: &str) -> Result<Self, GraphSetUpError> {
        let base = Url::parse(base_url.trim_end_matches('/')).map_err(|_| GraphSetUpError::Address)?;
        if base.host().is_none() || base.cannot_be_a_base() {
            return Err(GraphSetUpError::Address);
        }
        let build = || {
            Client::builder()
                .connect_timeout(CONNECT)
                .timeout(CALL_TIME)
                .pool_idle_timeout(IDLE)
                .tcp_nodelay(true)
                .redirect(reqwest::redirect::Policy::none())
                .retry(reqwest::retry::never())
                .user_agent(concat!("staffetta/", env!("CARGO_PKG_VERSION")))
        };
        let http = build().build()?;
        let outside = build().no_proxy().dns_resolver(PublicAlone).build()?;
        let version = version.trim_matches('/').to_owned();
        Ok(Self { http, outside, base, version, requests: Requests::default() })
    }

    /// Measures each request in `duration`, with the labels of the semantic conventions and `peer="provider"`.
    #[must_use]
    pub fn measured(self, duration: Histogram<f64>) -> Self {
        Self { requests: Requests::of(duration), ..self }
    }

    /// Reads what lies at `path`, whose parts stand between the address's slashes.
    ///
    /// # Errors
    /// As [`CallError`] says; after [`CALL_TIME`] at the latest.
    pub async fn get(
        &self,
        token: &SecretString,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<Value, CallError> {
        self.ask(token, self.request(Method::GET, path).query(query)).await
    }

    /// Writes `body` to what lies at `path`.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn post(&self, token: &SecretString, path: &[&str], body: &Value) -> Result<Value, CallError> {
        self.ask(token, self.request(Method::POST, path).json(body)).await
    }

    /// Deletes what lies at `path`.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn delete(
        &self,
        token: &SecretString,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<Value, CallError> {
        self.ask(token, self.request(Method::DELETE, path).query(query)).await
    }

    /// Uploads the file of a form for a number, while the form is being written.
    ///
    /// # Errors
    /// As [`get`](Self::get), but after [`FILE_TIME`]. If the form is never finished: then nothing was uploaded.
    pub async fn upload(
        &self,
        token: &SecretString,
        number: &str,
        form: FormBody,
    ) -> Result<Value, CallError> {
        let request = self
            .request(Method::POST, &[number, "media"])
            .timeout(FILE_TIME)
            .header(CONTENT_TYPE, form.content_type())
            .body(reqwest::Body::wrap_stream(form.into_stream()));
        self.ask(token, request).await
    }

    /// Begins to fetch the file behind an address that a look-up of it gave.
    ///
    /// # Errors
    /// As [`get`](Self::get). [`CallError::Gone`] when the address leads nowhere any more; [`CallError::NoAnswer`] also
    /// when it leads where the token must not be shown.
    pub async fn download(&self, token: &SecretString, address: &str) -> Result<Download, CallError> {
        let unfit = CallError::NoAnswer("the provider names an address for the file that is not its own");
        let Ok(address) = Url::parse(address) else { return Err(unfit) };
        let http = match place::way_to(&self.base, &address) {
            Some(Way::Anywhere) => &self.http,
            Some(Way::PublicAlone) => &self.outside,
            None => return Err(unfit),
        };
        let authorization = bearer(token).ok_or(CallError::Token)?;
        let request = http.get(address).header(AUTHORIZATION, authorization).timeout(FILE_TIME);
        Download::begin(self.sent(request).await?)
    }

    fn request(&self, method: Method, path: &[&str]) -> RequestBuilder {
        let mut url = self.base.clone();
        if let Ok(mut parts) = url.path_segments_mut() {
            parts.pop_if_empty().extend(self.version.split('/')).extend(path);
        }
        self.http.request(method, url)
    }

    async fn ask(&self, token: &SecretString, request: RequestBuilder) -> Result<Value, CallError> {
        let authorization = bearer(token).ok_or(CallError::Token)?;
        let response = self.sent(request.header(AUTHORIZATION, authorization)).await?;
        answer::read(response, token).await
    }

    async fn sent(&self, request: RequestBuilder) -> Result<Response, CallError> {
        let (client, request) = request.build_split();
        let request = request.map_err(|_| CallError::NoAnswer("the provider cannot be asked that"))?;
        let (method, begun) = (request.method().clone(), Instant::now());
        let sent = client.execute(request).await;
        self.requests.ended(&method, begun, &sent);
        sent.map_err(|error| {
            CallError::NoAnswer(if error.is_connect() {
                "the provider could not be reached"
            } else if error.is_timeout() {
                "the provider did not answer in time"
            } else {
                "the connection to the provider broke before the answer"
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_lies_below_base_and_version_and_its_parts_stay_parts() {
        for (base, wanted) in [
            ("https://graph.example", "https://graph.example/v24.0/1/media"),
            ("https://graph.example/", "https://graph.example/v24.0/1/media"),
            ("http://proxy.example:81/meta/", "http://proxy.example:81/meta/v24.0/1/media"),
        ] {
            let graph = Graph::new(base, "/v24.0/").unwrap();
            let request = graph.request(Method::GET, &["1", "media"]).build().unwrap();
            assert_eq!(request.url().as_str(), wanted);
        }
        let graph = Graph::new("https://graph.example", "v24.0").unwrap();
        let request = graph.request(Method::GET, &["a/b?c#d"]).query(&[("q", "&=")]).build().unwrap();
        assert_eq!(request.url().as_str(), "https://graph.example/v24.0/a%2Fb%3Fc%23d?q=%26%3D");
    }

    #[test]
    fn what_is_no_address_stops_the_start() {
        for base in ["", "graph", "https://", "mailto:a@b.example"] {
            assert!(matches!(Graph::new(base, "v24.0"), Err(GraphSetUpError::Address)), "{base}");
        }
    }
}
