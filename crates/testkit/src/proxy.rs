//! A network that fails on demand.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use anyhow::Context;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{mpsc, oneshot, watch},
    task::{JoinHandle, JoinSet},
    time::timeout,
};

use crate::HeldPort;

const CONNECT_LIMIT: Duration = Duration::from_secs(60);
const ORDER_LIMIT: Duration = Duration::from_secs(60);

/// A TCP proxy on loopback, in front of any address. It passes everything on until it is told otherwise; when dropped,
/// its connections break.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    orders: mpsc::Sender<Order>,
    running: JoinHandle<()>,
}

/// What to do, and whom to tell once it is so.
#[derive(Debug)]
struct Order {
    fault: Fault,
    done: oneshot::Sender<io::Result<()>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    Stall,
    Cut,
}

impl FaultProxy {
    /// A proxy in front of `upstream`, which needn't be there yet.
    ///
    /// # Errors
    ///
    /// When there is no free port.
    pub async fn before(upstream: SocketAddr) -> anyhow::Result<Self> {
        let held = HeldPort::pick().context("no free port for a proxy")?;
        let address = (Ipv4Addr::LOCALHOST, held.number()).into();
        let listener = TcpListener::bind(address).await?;
        let (orders, received) = mpsc::channel(1);
        let door = Door { address, _held: held, upstream, fault: watch::Sender::new(Fault::None) };
        let running = tokio::spawn(door.keep(listener, received));
        Ok(Self { address, orders, running })
    }

    /// Where to connect instead of to what lies behind.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Afterwards no connection is open, and new ones are refused, until [`heal`](Self::heal).
    ///
    /// # Errors
    ///
    /// When the proxy does not answer.
    pub async fn cut(&self) -> anyhow::Result<()> {
        self.order(Fault::Cut).await
    }

    /// Afterwards connections stay open and new ones are accepted, but nothing passes until [`heal`](Self::heal).
    /// What was under way is held, not lost.
    ///
    /// # Errors
    ///
    /// When the proxy can't listen again after a cut.
    pub async fn stall(&self) -> anyhow::Result<()> {
        self.order(Fault::Stall).await
    }

    /// Afterwards everything passes again.
    ///
    /// # Errors
    ///
    /// When the proxy can't listen again after a cut.
    pub async fn heal(&self) -> anyhow::Result<()> {
        self.order(Fault::None).await
    }

    async fn order(&self, fault: Fault) -> anyhow::Result<()> {
        let (done, answer) = oneshot::channel();
        let obeyed = async {
            self.orders.send(Order { fault, done }).await.ok().context("the proxy is gone")?;
            answer
                .await
                .context("the proxy is gone")?
                .with_context(|| format!("the proxy's {fault:?} failed"))
        };
        timeout(ORDER_LIMIT, obeyed).await.context("the proxy does not answer")?
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.running.abort();
    }
}

/// The proxy's inside: one task that accepts and obeys, and one for each connection.
#[derive(Debug)]
struct Door {
    address: SocketAddr,
    /// Nobody else gets the port during a cut.
    _held: HeldPort,
    upstream: SocketAddr,
    fault: watch::Sender<Fault>,
}

impl Door {
    async fn keep(self, listener: TcpListener, mut orders: mpsc::Receiver<Order>) {
        let mut listener = Some(listener);
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                order = orders.recv() => {
                    let Some(Order { fault, done }) = order else { return };
                    self.fault.send_replace(fault);
                    if fault == Fault::Cut {
                        connections.shutdown().await;
                    }
                    let _ = done.send(self.turn(&mut listener, fault).await); // who asked may have given up
                }
                Ok((client, _)) = accept(listener.as_ref()) => {
                    connections.spawn(relay(client, self.upstream, self.fault.subscribe()));
                }
                Some(_) = connections.join_next() => {} // a broken connection is what clients are tested with
            }
        }
    }

    /// Listens, or does not, as the fault wants it.
    async fn turn(&self, listener: &mut Option<TcpListener>, fault: Fault) -> io::Result<()> {
        if fault == Fault::Cut {
            *listener = None;
        } else if listener.is_none() {
            *listener = Some(TcpListener::bind(self.address).await?);
        }
        Ok(())
    }
}

async fn accept(listener: Option<&TcpListener>) -> io::Result<(TcpStream, SocketAddr)> {
    match listener {
        Some(listener) => listener.accept().await,
        None => std::future::pending().await,
    }
}

async fn relay(client: TcpStream, upstream: SocketAddr, fault: watch::Receiver<Fault>) -> io::Result<()> {
    let server = timeout(CONNECT_LIMIT, TcpStream::connect(upstream)).await??;
    // The proxy must not add waits of its own.
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::try_join!(pump(from_client, to_server, fault.clone()), pump(from_server, to_client, fault))?;
    Ok(())
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut fault: watch::Receiver<Fault>,
) -> io::Result<()> {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let length = from.read(&mut buffer).await?;
        fault.wait_for(|fault| *fault == Fault::None).await.map_err(io::Error::other)?;
        if length == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..length]).await?;
    }
}
