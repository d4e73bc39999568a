//! Whether every leaf is in the database and on EVENTS, once.

use std::{collections::HashSet, time::Duration};

use anyhow::{Context, ensure};
use async_nats::jetstream::consumer::{DeliverPolicy, push::OrderedConfig};
use futures_util::{StreamExt, TryStreamExt};
use tokio::time::timeout;

use super::{
    bed::{Bed, EVENTS},
    cluster::{close, connect, within},
};

/// Longest wait for the next event, or the next row.
const NEXT_LIMIT: Duration = Duration::from_secs(60);
const CHECK_LIMIT: Duration = Duration::from_secs(1_200);

/// The number of the newest event in the database; 0 for an empty one, and for one without tables.
pub(super) async fn newest(url: &str) -> anyhow::Result<i64> {
    let mut connection = connect(url).await?;
    let tables: bool =
        within(sqlx::query_scalar("SELECT to_regclass('events') IS NOT NULL").fetch_one(&mut connection))
            .await?;
    let newest = if tables {
        within(sqlx::query_scalar("SELECT COALESCE(max(seq), 0) FROM events").fetch_one(&mut connection))
            .await?
    } else {
        0
    };
    close(connection).await?;
    Ok(newest)
}

/// Makes sure that so many events were announced, none of them twice, and that the database has just these, besides
/// the ones that it had `before`.
pub(super) async fn all_once(bed: &Bed, leaves: u64, before: i64) -> anyhow::Result<()> {
    timeout(CHECK_LIMIT, compare(bed, leaves, before)).await.context("checking took too long")?
}

async fn compare(bed: &Bed, leaves: u64, before: i64) -> anyhow::Result<()> {
    let mut announced = announced(bed).await?;
    let found = announced.len() as u64;
    ensure!(found == leaves, "{found} different events were announced for {leaves} leaves");
    let mut connection = connect(&bed.url).await?;
    let mut rows =
        sqlx::query_scalar("SELECT id::text FROM events WHERE seq > $1").bind(before).fetch(&mut connection);
    let mut recorded = 0_u64;
    while let Some(id) = rows.try_next().await.context("reading the recorded events")? {
        let id: String = id;
        recorded += 1;
        ensure!(announced.remove(&number(&id)?), "the event {id} was recorded and not announced");
    }
    drop(rows);
    ensure!(recorded == leaves, "{recorded} events were recorded for {leaves} leaves");
    close(connection).await
}

/// The ids of all that stands on EVENTS.
async fn announced(bed: &Bed) -> anyhow::Result<HashSet<u128>> {
    let held = bed.held(EVENTS).await?;
    let stream = bed.jetstream.get_stream_no_info(EVENTS).await.context("no stream EVENTS")?;
    let config = OrderedConfig {
        deliver_subject: bed.client.new_inbox(),
        deliver_policy: DeliverPolicy::All,
        headers_only: true,
        ..OrderedConfig::default()
    };
    let consumer = stream.create_consumer(config).await.context("reading EVENTS")?;
    let mut messages = consumer.messages().await.context("reading EVENTS")?;
    let mut ids = HashSet::with_capacity(usize::try_from(held)?);
    for _ in 0..held {
        let next = timeout(NEXT_LIMIT, messages.next()).await.context("EVENTS is too slow")?;
        let message = next.context("EVENTS ended")?.context("reading EVENTS")?;
        let headers = message.headers.as_ref().context("an event has no headers")?;
        let id = headers.get("ce-id").context("an event has no id")?.as_str();
        ensure!(ids.insert(number(id)?), "the event {id} was announced twice");
    }
    Ok(ids)
}

/// The first 32 hexadecimal digits of an id, hyphens aside: all of it, or of a digest half.
fn number(id: &str) -> anyhow::Result<u128> {
    let digits: String = id.chars().filter(|&digit| digit != '-').take(32).collect();
    u128::from_str_radix(&digits, 16).with_context(|| format!("{id} is no event's id"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_the_same_as_text_and_as_uuid() {
        let plain = number("0123456789abcdef0123456789abcdef").unwrap();
        assert_eq!(number("01234567-89ab-cdef-0123-456789abcdef").unwrap(), plain);
        assert!(number("not hexadecimal").is_err());
    }
}
