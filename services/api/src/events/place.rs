//! Where a stream begins.

use std::time::Duration;

use axum::http::HeaderMap;
use jiff::Timestamp;
use staffetta_bus::EventLog;
use staffetta_domain::TenantId;
use tokio::time::sleep;

use super::stream::EventsError;
use crate::query::{InvalidParameter, Parameters};

/// Pauses before it is believed that nothing was stored since some time: any replica answers, and one may be behind.
const LAG: [Duration; 2] = [Duration::from_millis(5), Duration::from_millis(25)];

/// Where a client wants to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// After the event of this number, the last that it has.
    After(u64),
    /// With the first event that was stored at this time or later.
    Since(Timestamp),
    /// With what happens from now on.
    Now,
}

/// The client's place is not on EVENTS.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Gone {
    #[error(
        "Last-Event-ID: events that followed it are kept no more: ask with since, and without Last-Event-ID, for those that are"
    )]
    TooOld,
    #[error(
        "Last-Event-ID: no event has come so far: the events were numbered anew, ask with since, and without Last-Event-ID"
    )]
    Unknown,
}

/// What the request asks for.
pub(super) fn wanted(headers: &HeaderMap, parameters: &mut Parameters) -> Result<Start, InvalidParameter> {
    let since = parameters.moment("since")?;
    let last = headers.get("last-event-id").filter(|value| !value.is_empty());
    let Some(last) = last else { return Ok(since.map_or(Start::Now, Start::Since)) };
    let number = last.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let number = number.and_then(|text| text.parse().ok());
    number
        .map(Start::After)
        .ok_or_else(|| InvalidParameter::new("Last-Event-ID", "must be an id of this stream, as it was"))
}

/// A place on EVENTS.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// The number of the first event that the client wants, or that it will have once it happens.
    pub(super) next: u64,
    /// When this EVENTS was made.
    pub(super) log: i64,
}

/// Where the client begins.
pub(super) async fn find(log: &EventLog, tenant: &TenantId, start: Start) -> Result<Place, EventsError> {
    // Asked first: what is stored while the rest is looked up comes after it, and is read then.
    let ends = log.ends().await?;
    let next = match start {
        Start::Now => ends.last + 1,
        Start::After(last) if last > ends.last => return Err(Gone::Unknown.into()),
        Start::After(last) if last + 1 < ends.first => return Err(Gone::TooOld.into()),
        Start::After(last) => last + 1,
        Start::Since(at) => {
            let mut waits = LAG.iter();
            loop {
                if let Some(first) = log.first_since(tenant, at).await? {
                    break first;
                }
                let Some(wait) = waits.next() else { break ends.last + 1 };
                sleep(*wait).await;
            }
        }
    };
    Ok(Place { next, log: ends.made_at })
}

#[cfg(test)]
mod tests {
    use axum::extract::Query;
    use axum::http::HeaderValue;

    use super::*;

    fn asked(last: Option<&'static str>, since: Option<&str>) -> Result<Start, String> {
        let pairs = since.map(|since| ("since".to_owned(), since.to_owned()));
        let mut parameters = Parameters::of(Ok(Query(pairs.into_iter().collect())), &["since"]).ok().unwrap();
        let mut headers = HeaderMap::new();
        if let Some(last) = last {
            headers.insert("last-event-id", HeaderValue::from_static(last));
        }
        wanted(&headers, &mut parameters).map_err(|invalid| invalid.name)
    }

    #[test]
    fn the_last_id_counts_more_than_a_time() {
        let since = "2026-11-21T09:30:00Z";
        assert_eq!(asked(None, None), Ok(Start::Now));
        assert_eq!(asked(Some(""), None), Ok(Start::Now));
        assert_eq!(asked(None, Some(since)), Ok(Start::Since(since.parse().unwrap())));
        assert_eq!(asked(Some("7"), Some(since)), Ok(Start::After(7)));
        for wrong in ["x", "-1", "+1", "1.5", "99999999999999999999", "1 "] {
            assert_eq!(asked(Some(wrong), None), Err("Last-Event-ID".into()), "{wrong}");
        }
        assert_eq!(asked(None, Some("yesterday")), Err("since".into()));
    }
}
