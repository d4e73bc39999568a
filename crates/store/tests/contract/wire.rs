//! The wire between a client and PostgreSQL.

use std::mem;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use staffetta_testkit::until;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream, tcp::OwnedReadHalf};
use tokio::task::JoinSet;
use tokio::time::sleep;

/// The types of the messages that clients sent, as the protocol writes them: `P`arse, `B`ind, `E`xecute, `Q`uery, ….
#[derive(Clone, Default)]
pub(crate) struct Heard(Arc<Mutex<String>>);

impl Heard {
    pub(crate) fn take(&self) -> String {
        mem::take(&mut self.0.lock().unwrap())
    }

    fn add(&self, kind: u8) {
        self.0.lock().unwrap().push(char::from(kind));
    }
}

/// Listens in between clients and the server until it is dropped.
pub(crate) struct Wire {
    url: String,
    heard: Heard,
    /// How often the connections of the time went silent.
    silences: Arc<AtomicU32>,
    _running: JoinSet<()>,
}

impl Wire {
    /// A wire to the database of that address.
    pub(crate) async fn to(url: &str) -> Self {
        let (user, rest) = url.split_once('@').unwrap();
        let (server, name) = rest.split_once('/').unwrap();
        let server: SocketAddr = server.parse().unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("{user}@{}/{name}?sslmode=disable", listener.local_addr().unwrap());
        let (heard, silences) = (Heard::default(), Arc::new(AtomicU32::new(0)));
        let mut running = JoinSet::new();
        let (record, silent) = (heard.clone(), silences.clone());
        running.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(listen_in(client, server, record.clone(), silent.clone()));
            }
        });
        Self { url, heard, silences, _running: running }
    }

    /// Where to connect instead.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// What was heard on all connections.
    pub(crate) fn heard(&self) -> &Heard {
        &self.heard
    }

    /// Waits until nobody says anything. A pool still asks a connection twice whether it is well when its user has let
    /// go of it.
    pub(crate) async fn at_rest(&self) {
        until("the wire to be at rest", Duration::from_secs(120), async || {
            self.heard.take();
            sleep(Duration::from_millis(200)).await;
            self.heard.take().is_empty().then_some(())
        })
        .await
        .unwrap();
    }

    /// From now on nothing passes on the connections that there are, as when the server's machine is gone: they stay
    /// open. New ones are as ever.
    pub(crate) fn silence(&self) {
        self.silences.fetch_add(1, Ordering::SeqCst);
    }
}

async fn listen_in(client: TcpStream, server: SocketAddr, heard: Heard, silences: Arc<AtomicU32>) {
    let born = silences.load(Ordering::SeqCst);
    let server = TcpStream::connect(server).await.unwrap();
    let (mut client_says, mut client_hears) = client.into_split();
    let (mut server_says, mut server_hears) = server.into_split();
    let mut answers = JoinSet::new();
    answers.spawn(async move { copy(&mut server_says, &mut client_hears).await });
    // The first message has no type.
    let mut next = untyped(&mut client_says, Vec::new()).await;
    while let Ok(message) = next {
        if silences.load(Ordering::SeqCst) == born && server_hears.write_all(&message).await.is_err() {
            return;
        }
        next = typed(&mut client_says).await;
        if let Ok(message) = &next {
            heard.add(message[0]);
        }
    }
}

async fn typed(client: &mut OwnedReadHalf) -> std::io::Result<Vec<u8>> {
    let kind = client.read_u8().await?;
    untyped(client, vec![kind]).await
}

/// A message's length, which counts itself, and its body.
async fn untyped(client: &mut OwnedReadHalf, mut message: Vec<u8>) -> std::io::Result<Vec<u8>> {
    let length = client.read_u32().await?;
    message.extend(length.to_be_bytes());
    let head = message.len();
    message.resize(head + length as usize - 4, 0);
    client.read_exact(&mut message[head..]).await?;
    Ok(message)
}
