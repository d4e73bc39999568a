//! What an owner of a part tells the next one, so that nobody has to wait until a second is over: how old each message
//! is that counts in its channels' rates.

use std::collections::BTreeMap;

use bytes::Bytes;
use staffetta_domain::ChannelId;
use tracing::warn;

use crate::governor::Ages;

/// Written and read as JSON: `{"<channel>": {"sent": [<milliseconds>, …], "received": […], "granted": 80}}`.
pub(crate) struct Handover;

impl Handover {
    pub(crate) fn write(ages: Vec<(ChannelId, Ages)>) -> Bytes {
        let ages: BTreeMap<String, Ages> =
            ages.into_iter().map(|(channel, ages)| (channel.to_string(), ages)).collect();
        serde_json::to_vec(&ages).expect("texts and numbers are JSON").into()
    }

    /// What can't be read was written by a newer version.
    pub(crate) fn read(handover: Option<&[u8]>) -> Vec<(ChannelId, Ages)> {
        let Some(handover) = handover else { return Vec::new() };
        let ages: BTreeMap<String, Ages> = serde_json::from_slice(handover).unwrap_or_else(|_| {
            warn!("a handover could not be read");
            BTreeMap::new()
        });
        ages.into_iter().filter_map(|(channel, ages)| Some((channel.parse().ok()?, ages))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        let told = Ages { sent: vec![0, 7, 999], received: vec![3], granted: Some(80) };
        let ages = vec![("acme-orders".parse().unwrap(), told)];
        assert_eq!(Handover::read(Some(&Handover::write(ages.clone()))), ages);
        assert!(Handover::read(Some(b"?")).is_empty());
        assert!(Handover::read(None).is_empty());
    }
}
