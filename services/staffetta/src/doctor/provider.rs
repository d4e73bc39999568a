//! Whether the Graph API can be reached, and until when its certificate holds.

use jiff::{SignedDuration, Timestamp};
use reqwest::Url;
use staffetta_runtime::certificate;

use super::finding::{Area, Finding, Level, Notes};
use super::patient::{Patient, within};
use super::print::span;
use super::reach;

/// How long before its end a certificate is worth a warning, and is an error.
const SOON: SignedDuration = SignedDuration::from_hours(21 * 24);
const NOW: SignedDuration = SignedDuration::from_hours(3 * 24);

pub(super) async fn examine(patient: &Patient<'_>) -> Vec<Finding> {
    let mut notes = Notes::of(Area::Provider);
    let address = &patient.config.graph.base_url;
    let host = host_of(address);
    let (reached, certificate) = tokio::join!(reach::reach(&patient.http, address), certificate_of(address));
    match reached {
        Ok(reached) => {
            let seen = format!("answers {} within {} ms", reached.status, reached.took.as_millis());
            if reached.status >= 500 {
                let todo = "The provider has a fault, or something stands in between: see metastatus.com. Sends wait and are \
                            tried again.";
                notes.warning("provider.reach", Some(&host), seen, todo);
            } else {
                notes.ok("provider.reach", Some(&host), seen);
            }
        }
        Err(why) => notes.error(
            "provider.reach",
            Some(&host),
            why,
            "Let this machine out to it on port 443: DNS, firewall, NetworkPolicy, proxy (HTTPS_PROXY). Commands wait in \
             SEND and nothing is lost meanwhile.",
        ),
    }
    judge("provider.certificate", &host, certificate, &mut notes);
    notes.end()
}

/// The end of a certificate; `None` where there is none.
pub(super) async fn certificate_of(address: &str) -> Result<Option<Timestamp>, String> {
    within(certificate::expires(address, super::patient::CHECK)).await
}

pub(super) fn judge(
    check: &'static str,
    host: &str,
    certificate: Result<Option<Timestamp>, String>,
    notes: &mut Notes,
) {
    let end = match certificate {
        Ok(Some(end)) => end,
        Ok(None) if is_this_machine(host) => {
            notes.ok(check, Some(host), "none: plain HTTP on this machine");
            return;
        }
        Ok(None) => {
            let todo = "Use https: whoever is on the way can read tokens and messages.";
            notes.warning(check, Some(host), "none: it is plain HTTP", todo);
            return;
        }
        Err(why) => {
            notes.error(
                check,
                Some(host),
                format!("can't be looked at: {why}"),
                "See whether it can be reached at all.",
            );
            return;
        }
    };
    let left = end.duration_since(Timestamp::now());
    let level = match left {
        left if left < NOW => Level::Error,
        left if left < SOON => Level::Warning,
        _ => Level::Ok,
    };
    let seen = if left.is_positive() {
        format!("ends in {}, on {}", span(left), end.strftime("%Y-%m-%d"))
    } else {
        format!("ended {} ago, on {}", span(left), end.strftime("%Y-%m-%d"))
    };
    let todo = "Renew it, and find out why that did not happen by itself (cert-manager: `kubectl describe certificate`). The \
                provider refuses to call an address whose certificate has ended.";
    notes.at(level, check, Some(host), seen, todo);
}

/// The address's host, and its port where it is not the usual one: an address may carry more than may be shown.
pub(super) fn host_of(address: &str) -> String {
    let Ok(url) = Url::parse(address) else { return "an address that can't be read".into() };
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

fn is_this_machine(host: &str) -> bool {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name).trim_matches(['[', ']']);
    name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(days: i64) -> Level {
        let mut notes = Notes::of(Area::Provider);
        let end = Timestamp::now().checked_add(SignedDuration::from_hours(days * 24)).unwrap();
        judge("provider.certificate", "x.example", Ok(Some(end)), &mut notes);
        notes.end()[0].level
    }

    #[test]
    fn a_certificate_is_told_of_before_it_ends() {
        assert_eq!(
            [level(90), level(10), level(1), level(-1)],
            [Level::Ok, Level::Warning, Level::Error, Level::Error]
        );
    }

    #[test]
    fn an_address_shows_its_host_alone() {
        assert_eq!(host_of("https://user:secret@hooks.example.com/a?b=c"), "hooks.example.com");
        assert_eq!(host_of("http://127.0.0.1:8081"), "127.0.0.1:8081");
        assert!(
            is_this_machine("127.0.0.1:8081") && is_this_machine("[::1]:80") && !is_this_machine("10.0.0.1")
        );
    }
}
