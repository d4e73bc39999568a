//! Until when the certificate holds that an address shows.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::tls::TlsInfo;
use reqwest::{Client, Url, redirect, retry};
use x509_parser::parse_x509_certificate;

/// Why nothing is known of an address's certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// It is no address of the web.
    #[error("not an address of the web")]
    Address,
    /// No TLS connection came about within the limit.
    #[error("no TLS connection")]
    Unreachable(#[source] reqwest::Error),
    /// There is a connection and no certificate that can be read.
    #[error("the certificate can't be read")]
    Unreadable,
}

/// When the certificate ends that `url` shows; `None` where it is not `https`. One that has ended already, or that
/// nobody trusts, is told all the same.
///
/// # Errors
/// If no certificate was seen within `limit`.
pub async fn expires(url: &str, limit: Duration) -> Result<Option<Timestamp>, CertificateError> {
    let url = Url::parse(url).map_err(|_| CertificateError::Address)?;
    match url.scheme() {
        "https" => {}
        "http" => return Ok(None),
        _ => return Err(CertificateError::Address),
    }
    let client = Client::builder()
        .timeout(limit)
        .tls_info(true)
        // It is looked at and not believed: the request says nothing and its answer is thrown away. Without this,
        // whoever waits for the end of a certificate would not see it once it has come.
        .tls_danger_accept_invalid_certs(true)
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .build()
        .map_err(CertificateError::Unreachable)?;
    let answer = client.head(url).send().await;
    let answer = answer.map_err(|error| CertificateError::Unreachable(error.without_url()))?;
    let shown = answer.extensions().get::<TlsInfo>().and_then(TlsInfo::peer_certificate);
    shown.and_then(end_of).map(Some).ok_or(CertificateError::Unreadable)
}

/// The end of a certificate in DER.
fn end_of(certificate: &[u8]) -> Option<Timestamp> {
    let (_, certificate) = parse_x509_certificate(certificate).ok()?;
    Timestamp::from_second(certificate.validity().not_after.timestamp()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn only_https_shows_a_certificate() {
        assert!(matches!(expires("http://127.0.0.1:1", LIMIT).await, Ok(None)));
        for url in ["", "hooks.example.com", "ftp://hooks.example.com"] {
            assert!(matches!(expires(url, LIMIT).await, Err(CertificateError::Address)), "{url}");
        }
        let nobody = expires("https://127.0.0.1:1", LIMIT).await;
        assert!(matches!(nobody, Err(CertificateError::Unreachable(_))), "{nobody:?}");
    }
}
