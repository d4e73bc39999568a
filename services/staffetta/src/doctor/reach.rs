//! Reaching an address of the web, and where on the way it failed.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::DATE;
use reqwest::{Client, Url};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout};

use super::patient::{CHECK, chain};

/// An address that answered.
#[derive(Debug)]
pub(super) struct Reached {
    /// By this machine's clock.
    pub(super) asked: Timestamp,
    /// From the question to the answer, on a connection that was open.
    pub(super) took: Duration,
    pub(super) status: u16,
    pub(super) date: Option<String>,
}

/// Longest time for each step of the search for what is wrong.
const STEP: Duration = Duration::from_secs(1);

/// Asks for the address itself, without any secret, whatever it answers.
pub(super) async fn reach(http: &Client, address: &str) -> Result<Reached, String> {
    let url = Url::parse(address).map_err(|_| "it is no address of the web".to_owned())?;
    let asking = async {
        // The first request opens the connection; the second one is measured.
        let mut reached = ask(http, &url).await?;
        if let Ok(again) = ask(http, &url).await {
            reached = again;
        }
        Ok::<_, reqwest::Error>(reached)
    };
    let limit = CHECK.saturating_sub(2 * STEP);
    match timeout(limit, asking).await {
        Ok(Ok(reached)) => Ok(reached),
        Ok(Err(error)) => Err(where_it_failed(&url, &chain(&error.without_url())).await),
        Err(_) => Err(where_it_failed(&url, &format!("no answer within {} s", limit.as_secs())).await),
    }
}

async fn ask(http: &Client, url: &Url) -> Result<Reached, reqwest::Error> {
    let (asked, started) = (Timestamp::now(), Instant::now());
    let answer = http.get(url.clone()).send().await?;
    let took = started.elapsed();
    let date = answer.headers().get(DATE).and_then(|date| date.to_str().ok()).map(str::to_owned);
    let status = answer.status().as_u16();
    // Read, so that the connection can be used again.
    let _ = answer.bytes().await;
    Ok(Reached { asked, took, status, date })
}

/// Name, connection, or what comes after: whoever mends it is another one each time.
pub(super) async fn where_it_failed(url: &Url, error: &str) -> String {
    let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
        return error.to_owned();
    };
    let host = host.trim_matches(['[', ']']);
    let mut addresses = match timeout(STEP, lookup_host((host, port))).await {
        Ok(Ok(addresses)) => addresses,
        Ok(Err(problem)) => return format!("DNS: {host} is not found ({problem})"),
        Err(_) => return format!("DNS: no answer about {host} within {} s", STEP.as_secs()),
    };
    let Some(address) = addresses.next() else { return format!("DNS: {host} has no address") };
    match timeout(STEP, TcpStream::connect(address)).await {
        Ok(Ok(_)) if url.scheme() == "https" => format!("TCP connects, TLS or HTTP fails: {error}"),
        Ok(Ok(_)) => format!("TCP connects, HTTP fails: {error}"),
        Ok(Err(problem)) => format!("TCP: {host}:{port} can't be reached ({problem})"),
        Err(_) => format!("TCP: {host}:{port} does not answer within {} s", STEP.as_secs()),
    }
}
