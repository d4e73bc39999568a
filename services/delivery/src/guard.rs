//! Requests to endpoints: to where the operator allows, and to nowhere else.
//!
//! A tenant chooses its endpoint's URL, and Staffetta stands where much can be reached that tenants can't reach. So
//! every address is looked at when a connection is made to it: a name that is looked at earlier may lead elsewhere later.

mod address;
mod resolver;

use std::error::Error;
use std::time::Duration;

use anyhow::Context;
use jiff::fmt::rfc2822::DateTimeParser;
use jiff::{SignedDuration, Timestamp};
use reqwest::header::{HeaderValue, RETRY_AFTER};
use reqwest::{Client, Response, Url};
use staffetta_runtime::config::DeliveryConfig;
use tokio::time::timeout;

use self::address::Networks;
use self::resolver::Resolver;
use crate::format::Prepared;

/// What an endpoint answered.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// How long `Retry-After` asks to wait, from now on.
    pub(crate) retry_after: Option<Duration>,
    /// The beginning of the body, for the tenant that looks why an attempt failed. Not for logs.
    pub(crate) text: String,
}

/// Why there is no answer. Names neither the address nor anything of the event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoAnswer {
    /// The entry's URL is none, or holds what a URL of an endpoint may not hold.
    #[error(
        "the url cannot be used: it must be http or https, with a host and without a user name or password"
    )]
    Url,
    /// The address is one that the operator does not allow.
    #[error("forbidden address")]
    Forbidden,
    /// The address would be allowed, but not in clear text.
    #[error("an address on the internet needs https")]
    Plain,
    /// The host's name leads nowhere.
    #[error("the host's name cannot be resolved")]
    Unresolved,
    /// The connection could not be made, TLS included: nothing has arrived.
    #[error("no connection could be made")]
    Unreachable,
    /// The time for one request was over. It may have arrived.
    #[error("no answer in time")]
    TimedOut,
    /// The connection broke. The request may have arrived.
    #[error("the connection broke")]
    Broken,
}

impl NoAnswer {
    /// In one word, for metrics and spans.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Url => "url",
            Self::Forbidden => "forbidden",
            Self::Plain => "plain",
            Self::Unresolved => "unresolved",
            Self::Unreachable => "connect",
            Self::TimedOut => "timeout",
            Self::Broken => "broken",
        }
    }
}

/// How much of an answer's body is kept, in bytes.
const KEPT: usize = 4 << 10;
/// How much of it is read so that the connection can serve again; beyond, it is closed.
const READ: usize = 64 << 10;
/// How long a body may take once the status is known.
const BODY_TIME: Duration = Duration::from_secs(2);
/// How long a connection may take to be made.
const CONNECT_TIME: Duration = Duration::from_secs(5);
const IDLE_TIME: Duration = Duration::from_secs(60);
/// Connections to one host that are kept without being used.
const IDLE_CONNECTIONS: usize = 16;

/// Clients that reach allowed addresses alone. Clones share their connections.
#[derive(Clone, Debug)]
pub(crate) struct Guarded {
    networks: Networks,
    /// For `https`: to public addresses, and to the networks that are named.
    https: Client,
    /// For `http`: to the networks that are named.
    http: Client,
}

/// The client, as it is configured. `nats_is_local`: everything runs on this machine, so that loopback is allowed where
/// nothing else is said.
///
/// # Errors
/// If `delivery.allow_networks` can't be read, or TLS can't be set up.
pub(crate) fn client(config: &DeliveryConfig, nats_is_local: bool) -> anyhow::Result<Guarded> {
    let networks = match &config.allow_networks {
        Some(text) => Networks::read(text)?,
        None if nats_is_local => Networks::loopback(),
        None => Networks::default(),
    };
    let time = Duration::from_millis(config.request_timeout_ms);
    let build = |resolver| {
        Client::builder()
            .user_agent(concat!("Staffetta/", env!("CARGO_PKG_VERSION")))
            .timeout(time)
            .connect_timeout(time.min(CONNECT_TIME))
            .pool_idle_timeout(IDLE_TIME)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            // What they lead to would be reached past the guard, or say what was meant for somebody else.
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .dns_resolver(resolver)
            .build()
            .context("the client for endpoints")
    };
    let https = build(Resolver::new(networks.clone(), true))?;
    let http = build(Resolver::new(networks.clone(), false))?;
    Ok(Guarded { networks, https, http })
}

impl Guarded {
    /// Posts what was prepared, and waits for the answer as long as one request may take. A redirect is an answer like
    /// others: it is not followed.
    ///
    /// # Errors
    /// Says whether the request may have arrived.
    pub(crate) async fn post(&self, url: &str, prepared: Prepared) -> Result<Answer, NoAnswer> {
        let (client, url) = self.check(url)?;
        let Prepared { headers, body } = prepared;
        let sent = client.post(url).headers(headers).body(body).send().await;
        let response = sent.map_err(|error| reason(&error))?;
        let status = response.status().as_u16();
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| wait(value, Timestamp::now()));
        Ok(Answer { status, retry_after, text: beginning(response).await })
    }

    /// The client for a URL whose host is a name, which is looked at when it is resolved, or an allowed address, in
    /// whatever dress it comes.
    fn check(&self, url: &str) -> Result<(&Client, Url), NoAnswer> {
        let url = Url::parse(url).map_err(|_| NoAnswer::Url)?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(NoAnswer::Url);
        }
        let (client, is_sealed) = match url.scheme() {
            "https" => (&self.https, true),
            "http" => (&self.http, false),
            _ => return Err(NoAnswer::Url),
        };
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or(NoAnswer::Url)?;
        // The parser has brought addresses of every other form into this one.
        let literal = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        if let Ok(address) = literal.parse() {
            self.networks.check(address, is_sealed)?;
        }
        Ok((client, url))
    }
}

/// What an error of the client comes down to. Its own text would show the URL.
fn reason(error: &reqwest::Error) -> NoAnswer {
    let mut source: Option<&(dyn Error + 'static)> = error.source();
    while let Some(error) = source {
        if let Some(reason) = error.downcast_ref::<NoAnswer>() {
            return *reason;
        }
        source = error.source();
    }
    match error {
        _ if error.is_connect() => NoAnswer::Unreachable,
        _ if error.is_timeout() => NoAnswer::TimedOut,
        _ => NoAnswer::Broken,
    }
}

/// `Retry-After`, in seconds or as a date.
fn wait(value: &HeaderValue, now: Timestamp) -> Option<Duration> {
    let text = value.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = DateTimeParser::new().parse_timestamp(text).ok()?;
    Some(at.duration_since(now).max(SignedDuration::ZERO).unsigned_abs())
}

/// The beginning of the body, as far as it comes.
async fn beginning(mut response: Response) -> String {
    let mut kept = Vec::new();
    let reading = async {
        let mut read = 0;
        while let Ok(Some(chunk)) = response.chunk().await {
            read += chunk.len();
            let room = KEPT.saturating_sub(kept.len());
            kept.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if read > READ {
                break;
            }
        }
    };
    // What came until then will do.
    let _ = timeout(BODY_TIME, reading).await;
    String::from_utf8_lossy(&kept).into_owned()
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answer").field("status", &self.status).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
