//! One address before the replicas of a service.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Context;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What a Kubernetes Service is to whoever connects: each new connection goes to the replica of the moment, and stays
/// with it. Its connections break when it is dropped.
#[derive(Debug)]
pub(crate) struct Front {
    leads_to: watch::Sender<Option<SocketAddr>>,
    refused: Arc<AtomicUsize>,
    _serving: JoinSet<()>,
}

impl Front {
    /// Listens. Connections break until [`lead_to`](Self::lead_to) says where they go.
    ///
    /// # Errors
    /// When the address can't be had.
    pub(crate) async fn listen(address: &str) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(address).await.with_context(|| format!("{address} can't be had"))?;
        let (leads_to, target) = watch::channel(None);
        let refused = Arc::<AtomicUsize>::default();
        let refusals = Arc::clone(&refused);
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    accepted = listener.accept() => {
                        let (Ok((client, _)), Some(target)) = (accepted, *target.borrow()) else { continue };
                        connections.spawn(relay(client, target, Arc::clone(&refusals)));
                    }
                    Some(_) = connections.join_next() => {}
                }
            }
        });
        Ok(Self { leads_to, refused, _serving: serving })
    }

    /// From now on new connections go there. Those that are open stay where they are.
    pub(crate) fn lead_to(&self, replica: SocketAddr) {
        self.leads_to.send_replace(Some(replica));
    }

    /// How many connections the replica of the moment did not take.
    pub(crate) fn refused(&self) -> usize {
        self.refused.load(Ordering::Relaxed)
    }
}

/// Ends with either side's end: a client whose replica is gone sees its connection end.
async fn relay(mut client: TcpStream, replica: SocketAddr, refused: Arc<AtomicUsize>) {
    let Ok(mut replica) = TcpStream::connect(replica).await else {
        refused.fetch_add(1, Ordering::Relaxed);
        return;
    };
    let _ = (client.set_nodelay(true), replica.set_nodelay(true));
    // What broke is seen at both ends.
    let _ = copy_bidirectional(&mut client, &mut replica).await;
}
