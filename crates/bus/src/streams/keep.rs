//! Keeps a stream as this version wants it, and takes nothing back of what a newer one, or an operator, made of it.
//!
//! Versions run side by side while one replaces the other, and each of their processes looks after the streams when it
//! starts. See docs/decisions/0021.

use async_nats::jetstream::context::GetStreamErrorKind;
use async_nats::jetstream::{Context, ErrorCode, stream};
use tracing::info;

/// Grows with each change of a value that an earlier version asks for too: see [`super::stream_configs`]. What is only
/// added needs none.
const GENERATION: u32 = 1;
/// Where a stream says which generation it is of.
const NOTED: &str = "staffetta-generation";
/// What the server notes for itself.
const SERVERS_OWN: &str = "_nats.";
/// Somebody else may make the stream in between: then there is one.
const TRIES: usize = 3;

/// How many copies there are to be, of those that are asked for and those that are found.
pub(super) type Copies = fn(usize, usize) -> usize;
/// None is taken away.
pub(super) const AT_LEAST: Copies = usize::max;
/// As many as are asked for.
pub(super) const EXACTLY: Copies = |wanted, _| wanted;

/// Makes the stream, or brings it up to date.
pub(super) async fn keep(
    jetstream: &Context,
    wanted: &stream::Config,
    copies: Copies,
) -> Result<(), async_nats::Error> {
    let mut tries = 0;
    loop {
        tries += 1;
        match jetstream.get_stream(&wanted.name).await {
            Ok(stream) => {
                let found = &stream.cached_info().config;
                if is_newer(found) {
                    info!(stream = wanted.name, "a newer version made it: it stays as it is");
                    return Ok(());
                }
                let kept = overlay(found, wanted, copies);
                if kept != *found {
                    jetstream.update_stream(without_servers_own(kept)).await?;
                }
                return Ok(());
            }
            Err(error) if is_missing(&error.kind()) => {
                match jetstream.create_stream(overlay(wanted, wanted, copies)).await {
                    Ok(_) => return Ok(()),
                    Err(error) if tries == TRIES => return Err(error.into()),
                    Err(_) => {}
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn is_missing(kind: &GetStreamErrorKind) -> bool {
    matches!(kind, GetStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND)
}

/// Whether a newer version made it what it is: this one can't tell what is right about it.
pub(crate) fn is_newer(found: &stream::Config) -> bool {
    let generation = found.metadata.get(NOTED).and_then(|noted| noted.parse::<u32>().ok());
    generation.is_some_and(|generation| generation > GENERATION)
}

/// What a migration makes of what is found.
pub(crate) fn migrated(found: &stream::Config, wanted: &stream::Config) -> stream::Config {
    overlay(found, wanted, EXACTLY)
}

/// What is found, with everything that is asked for. What nobody asks for stays as it is.
fn overlay(found: &stream::Config, wanted: &stream::Config, copies: Copies) -> stream::Config {
    let limit = |wanted: i64, found: i64| if wanted > 0 { wanted } else { found };
    let mut metadata = found.metadata.clone();
    metadata.insert(NOTED.into(), GENERATION.to_string());
    stream::Config {
        subjects: wanted.subjects.clone(),
        retention: wanted.retention,
        storage: wanted.storage,
        discard: wanted.discard,
        num_replicas: copies(wanted.num_replicas, found.num_replicas),
        // Nothing goes before its time, so none is asked for too.
        max_age: wanted.max_age,
        duplicate_window: wanted.duplicate_window,
        max_bytes: limit(wanted.max_bytes, found.max_bytes),
        max_messages_per_subject: limit(wanted.max_messages_per_subject, found.max_messages_per_subject),
        republish: wanted.republish.clone().or_else(|| found.republish.clone()),
        discard_new_per_subject: wanted.discard_new_per_subject || found.discard_new_per_subject,
        allow_direct: wanted.allow_direct || found.allow_direct,
        allow_rollup: wanted.allow_rollup || found.allow_rollup,
        deny_delete: wanted.deny_delete || found.deny_delete,
        allow_atomic_publish: wanted.allow_atomic_publish || found.allow_atomic_publish,
        metadata,
        ..found.clone()
    }
}

fn without_servers_own(mut config: stream::Config) -> stream::Config {
    config.metadata.retain(|name, _| !name.starts_with(SERVERS_OWN));
    config
}
