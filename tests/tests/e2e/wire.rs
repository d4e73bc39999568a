//! What is said to the provider, word for word and by the clock on the wall.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// A line to the provider that keeps every message that goes over it. Cut when dropped.
#[derive(Debug)]
pub(crate) struct Wire {
    address: SocketAddr,
    listener: Option<TcpListener>,
    seen: Seen,
    running: JoinSet<()>,
}

/// A message, as it came over the line.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    /// When it had come as a whole.
    pub(crate) at: SystemTime,
    /// The request's body.
    pub(crate) body: Value,
}

type Seen = Arc<Mutex<Vec<Said>>>;

impl Wire {
    /// Lays it; nobody takes what is sent over it until it is [connected](Self::connect).
    pub(crate) async fn lay() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        Self { address, listener: Some(listener), seen: Seen::default(), running: JoinSet::new() }
    }

    /// Lets Staffetta reach the provider over this line alone.
    pub(crate) fn setting(&self) -> (&'static str, String) {
        ("STAFFETTA__GRAPH__BASE_URL", format!("http://{}", self.address))
    }

    /// Carries everything to the provider from now on.
    pub(crate) fn connect(&mut self, provider: SocketAddr) {
        let listener = self.listener.take().unwrap();
        let seen = Arc::clone(&self.seen);
        self.running.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((caller, _)) = listener.accept().await {
                connections.spawn(carry(caller, provider, Arc::clone(&seen)));
            }
        });
    }

    /// All messages so far.
    pub(crate) fn said(&self) -> Vec<Said> {
        self.seen.lock().unwrap().clone()
    }

    /// The last message of each command, by the command's id, which travels with it behind its owner and the number of the try.
    pub(crate) fn by_command(&self) -> BTreeMap<String, Said> {
        let id = |said: &Said| {
            let carried = said.body["biz_opaque_callback_data"].as_str()?;
            Some(carried.splitn(4, ':').last()?.to_owned())
        };
        self.said().into_iter().map(|said| (id(&said).unwrap(), said)).collect()
    }
}

async fn carry(caller: TcpStream, provider: SocketAddr, seen: Seen) {
    let Ok(provider) = TcpStream::connect(provider).await else { return };
    let (mut from_caller, mut to_caller) = caller.into_split();
    let (mut from_provider, mut to_provider) = provider.into_split();
    let there = async {
        let (mut chunk, mut unread) = (vec![0; 65_536], Vec::new());
        while let Ok(count @ 1..) = from_caller.read(&mut chunk).await {
            unread.extend_from_slice(&chunk[..count]);
            while let Some((body, rest)) = first_request(&unread) {
                if let Ok(body) = serde_json::from_slice(body) {
                    seen.lock().unwrap().push(Said { at: SystemTime::now(), body });
                }
                unread = rest.to_vec();
            }
            if to_provider.write_all(&chunk[..count]).await.is_err() {
                return;
            }
        }
    };
    // Whoever hangs up first ends it for both.
    tokio::select! {
        () = there => {}
        _ = copy(&mut from_provider, &mut to_caller) => {}
    }
}

/// The body of the first request, and what comes after it; `None` while it is not all there.
fn first_request(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&bytes[..end]).unwrap().to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length = length.map_or(0, |length| length.trim().parse::<usize>().unwrap());
    let body = bytes.get(end..end + length)?;
    Some((body, &bytes[end + length..]))
}
