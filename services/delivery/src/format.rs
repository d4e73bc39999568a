//! An event as an endpoint wants it written.

mod cloud_api;
mod cloudevents;
mod form;

use std::fmt;

use bytes::Bytes;
use jiff::Timestamp;
use reqwest::header::HeaderMap;
use staffetta_bus::{EndpointFormat, LoggedEvent, Registry, Webhook};
use staffetta_store::{Store, StoreError};

use crate::sign::SecretProblem;

/// A request that tells one event, but for where it goes. Its signature holds for this attempt: its time is in it.
pub(crate) struct Prepared {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// Why an event can't be told in a format.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unfit {
    /// The format has no words for such an event: there is nothing to deliver, now or later.
    #[error("the format has no words for this type of event")]
    NoWords,
    /// The endpoint's entry must be mended first.
    #[error(transparent)]
    Secret(#[from] SecretProblem),
    /// What has to be looked up for it can't be, just now. That is not the endpoint's doing.
    #[error("what belongs to the event can't be looked up")]
    NotNow(#[from] StoreError),
}

/// Writes an event as the endpoint wants it, for an attempt at `now`. Format `cloud_api` looks up what Meta would say of
/// a message that was sent through the facade; the others look up nothing.
///
/// # Errors
/// See [`Unfit`]: each calls for something else.
pub(crate) async fn request(
    webhook: &Webhook,
    logged: &LoggedEvent,
    registry: &Registry,
    store: &Store,
    now: Timestamp,
) -> Result<Prepared, Unfit> {
    let event = &logged.event;
    let channel = registry.channel(&event.channel).map(AsRef::as_ref);
    // It may belong to somebody else by now.
    let channel = channel.filter(|channel| channel.tenant.id == event.tenant);
    match webhook.format {
        EndpointFormat::CloudEvents => cloudevents::write(webhook, event, now),
        EndpointFormat::CloudApi => {
            let around = cloud_api::Around::of(event, channel, store).await?;
            cloud_api::write(webhook, event, &around)
        }
        EndpointFormat::Form => form::write(webhook, event, channel, now),
    }
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared").field("bytes", &self.body.len()).finish_non_exhaustive()
    }
}
