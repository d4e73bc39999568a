//! Reads a body within bounds of size, time and memory.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::answer::Outcome;
use crate::metrics::Metrics;

/// Largest body, in bytes: what the provider may send.
pub(crate) const MAX_BODY: usize = 3 << 20;
/// Longest time for a whole body to arrive.
const ARRIVAL: Duration = Duration::from_secs(10);
/// Longest wait for memory.
const ROOM: Duration = Duration::from_secs(1);
/// What a webhook costs besides its body: ids, queue entry, headers.
const OVERHEAD: usize = 512;

/// The bytes that all bodies together may take, counted as they arrive: who announces much and sends little holds
/// little.
#[derive(Clone, Debug)]
pub(crate) struct Memory(Arc<Semaphore>);

/// A part of the memory, given back when dropped.
#[derive(Debug)]
pub(crate) struct Held(OwnedSemaphorePermit);

impl Memory {
    pub(crate) fn new(bytes: usize) -> Self {
        let bytes = bytes.min(Semaphore::MAX_PERMITS);
        let memory = Arc::new(Semaphore::new(bytes));
        Metrics::watch(&memory, bytes);
        Self(memory)
    }

    async fn hold(&self, bytes: usize) -> Result<Held, Outcome> {
        let count = u32::try_from(bytes).map_err(|_| Outcome::TooLarge)?;
        if let Ok(permit) = Arc::clone(&self.0).try_acquire_many_owned(count) {
            return Ok(Held(permit));
        }
        let waited = timeout(ROOM, Arc::clone(&self.0).acquire_many_owned(count)).await;
        waited.ok().and_then(Result::ok).map(Held).ok_or(Outcome::Full)
    }
}

/// Whether the body is known to be too large before any of it is read.
pub(crate) fn announces_too_much(body: &Body) -> bool {
    body.size_hint().lower() > MAX_BODY as u64
}

/// Reads the whole body. Whatever ends the reading gives the memory back; what is read holds it.
pub(crate) async fn read(body: &mut Body, memory: &Memory) -> Result<(Bytes, Held), Outcome> {
    timeout(ARRIVAL, read_all(body, memory)).await.unwrap_or(Err(Outcome::Timeout))
}

async fn read_all(body: &mut Body, memory: &Memory) -> Result<(Bytes, Held), Outcome> {
    let mut held = memory.hold(OVERHEAD).await?;
    // Nearly every body is one piece.
    let Some(first) = next_piece(body).await? else { return Ok((Bytes::new(), held)) };
    keep(&mut held, &first, 0, memory).await?;
    if body.is_end_stream() {
        return Ok((first, held));
    }
    let mut whole = BytesMut::from(first);
    while let Some(piece) = next_piece(body).await? {
        keep(&mut held, &piece, whole.len(), memory).await?;
        whole.extend_from_slice(&piece);
    }
    Ok((whole.freeze(), held))
}

async fn keep(held: &mut Held, piece: &Bytes, before: usize, memory: &Memory) -> Result<(), Outcome> {
    if before + piece.len() > MAX_BODY {
        return Err(Outcome::TooLarge);
    }
    held.0.merge(memory.hold(piece.len()).await?.0);
    Ok(())
}

async fn next_piece(body: &mut Body) -> Result<Option<Bytes>, Outcome> {
    loop {
        match body.frame().await {
            None => return Ok(None),
            Some(Err(_)) => return Err(Outcome::Broken),
            // Trailers say nothing to us.
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn free(memory: &Memory) -> usize {
        memory.0.available_permits()
    }

    #[tokio::test]
    async fn what_is_read_holds_memory_until_it_is_dropped() {
        let memory = Memory::new(10_000);
        let (bytes, held) = read(&mut Body::from(vec![7; 4_000]), &memory).await.unwrap();
        assert_eq!((bytes.len(), free(&memory)), (4_000, 10_000 - 4_000 - OVERHEAD));
        drop(held);
        assert_eq!(free(&memory), 10_000);
    }

    #[tokio::test(start_paused = true)]
    async fn without_memory_the_wait_ends() {
        let memory = Memory::new(10_000);
        let read = read(&mut Body::from(vec![7; 20_000]), &memory).await;
        assert_eq!(read.unwrap_err(), Outcome::Full);
        assert_eq!(free(&memory), 10_000);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_ends_is_given_up() {
        let memory = Memory::new(10_000);
        let stuck = futures_util::stream::pending::<Result<Bytes, std::io::Error>>();
        let read = read(&mut Body::from_stream(stuck), &memory).await;
        assert_eq!(read.unwrap_err(), Outcome::Timeout);
        assert_eq!(free(&memory), 10_000);
    }

    #[tokio::test]
    async fn three_mebibytes_pass_and_no_byte_more() {
        let memory = Memory::new(16 << 20);
        let pieces = |last: usize| {
            let sizes = [MAX_BODY / 2, MAX_BODY / 2, last];
            let pieces = sizes.map(|size| Ok::<_, std::io::Error>(Bytes::from(vec![7; size])));
            Body::from_stream(futures_util::stream::iter(pieces))
        };
        assert_eq!(read(&mut pieces(0), &memory).await.unwrap().0.len(), MAX_BODY);
        assert_eq!(read(&mut pieces(1), &memory).await.unwrap_err(), Outcome::TooLarge);
        assert!(announces_too_much(&Body::from(vec![7; MAX_BODY + 1])));
        assert!(!announces_too_much(&Body::from(vec![7; MAX_BODY])));
    }
}
