//! One connection to NATS, shared by everything in a process.

use std::path::PathBuf;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream;
use secrecy::{ExposeSecret, SecretString};
use tracing::{info, warn};

use crate::metrics::Metrics;

/// Longest wait for an answer of the JetStream API.
const API_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Most publishes whose acknowledgement is awaited at a time; more wait for their turn.
const MAX_ACKS: usize = 4_096;

/// A connection to NATS. Clones share it. It reconnects by itself, for as long as the process lives.
#[derive(Clone, Debug)]
pub struct Bus {
    client: async_nats::Client,
    jetstream: jetstream::Context,
    pub(crate) metrics: Metrics,
}

/// Whom services connect as.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The user.
    pub user: String,
    /// Its password.
    pub password: SecretString,
}

/// How a connection is encrypted. The files are read again for each connection, so one that is replaced counts from the
/// next reconnect on.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// The authorities (PEM) that may vouch for the servers; the system's own without it.
    pub ca_file: Option<PathBuf>,
    /// What this side shows, where the server asks for a certificate.
    pub client: Option<ClientCertificate>,
}

/// A certificate and its private key, both PEM.
#[derive(Clone, Debug)]
pub struct ClientCertificate {
    /// The certificate, followed by those between it and the authority.
    pub certificate_file: PathBuf,
    /// The key.
    pub key_file: PathBuf,
}

/// NATS could not be reached at all.
#[derive(Debug, thiserror::Error)]
#[error("no connection to NATS")]
pub struct ConnectError(#[from] async_nats::ConnectError);

impl Bus {
    /// Connects to one of `urls` (separated by commas). `name` is how the connection shows in NATS' monitoring.
    ///
    /// # Errors
    /// If no server could be reached at the first try.
    pub async fn connect(urls: &str, name: &str) -> Result<Self, ConnectError> {
        Self::connect_as(urls, name, None).await
    }

    /// As [`connect`](Self::connect), to a server that asks who connects.
    ///
    /// # Errors
    /// If no server could be reached at the first try, or none lets that user in.
    pub async fn connect_as(
        urls: &str,
        name: &str,
        credentials: Option<&Credentials>,
    ) -> Result<Self, ConnectError> {
        Self::connect_with(urls, name, credentials, None).await
    }

    /// As [`connect_as`](Self::connect_as). With `tls` nothing is sent before the connection is encrypted; without it that
    /// holds only for a server that asks for it, and for the scheme `tls`.
    ///
    /// # Errors
    /// Also if a file can't be read, or the other end is not whom the authorities vouch for.
    pub async fn connect_with(
        urls: &str,
        name: &str,
        credentials: Option<&Credentials>,
        tls: Option<&Tls>,
    ) -> Result<Self, ConnectError> {
        let servers: Vec<&str> = urls.split(',').map(str::trim).filter(|url| !url.is_empty()).collect();
        let mut options = match credentials {
            Some(Credentials { user, password }) => async_nats::ConnectOptions::with_user_and_password(
                user.clone(),
                password.expose_secret().to_owned(),
            ),
            None => async_nats::ConnectOptions::new(),
        };
        if let Some(Tls { ca_file, client }) = tls {
            options = options.require_tls(true);
            if let Some(file) = ca_file {
                options = options.add_root_certificates(file.clone());
            }
            if let Some(ClientCertificate { certificate_file, key_file }) = client {
                options = options.add_client_certificate(certificate_file.clone(), key_file.clone());
            }
        }
        let client = options
            .name(name)
            .connection_timeout(CONNECT_TIMEOUT)
            .request_timeout(Some(API_TIMEOUT))
            .ping_interval(Duration::from_secs(10))
            .reconnect_delay_callback(|tries| {
                Duration::from_millis(match tries {
                    0 | 1 => 0,
                    2..=10 => 100,
                    _ => 1_000,
                })
            })
            .event_callback(async |event| match event {
                async_nats::Event::Connected => info!("connected to NATS"),
                async_nats::Event::Disconnected => warn!("disconnected from NATS"),
                other => warn!(event = %other, "NATS"),
            })
            .connect(servers)
            .await?;
        let jetstream = jetstream::ContextBuilder::new()
            .timeout(API_TIMEOUT)
            .ack_timeout(API_TIMEOUT)
            .max_ack_inflight(MAX_ACKS)
            .backpressure_on_inflight(true)
            .build(client.clone());
        Ok(Self { client, jetstream, metrics: Metrics::new() })
    }

    /// Whether a server is connected right now. While none is, what is published only waits in this process.
    pub fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// Largest message that the server takes, headers included, in bytes.
    pub fn max_payload(&self) -> usize {
        self.client.server_info().max_payload
    }

    /// The server's version.
    pub fn server_version(&self) -> String {
        self.client.server_info().version
    }

    /// The server's own name.
    pub fn server_name(&self) -> String {
        self.client.server_info().server_name
    }

    /// The connection itself.
    pub fn client(&self) -> &async_nats::Client {
        &self.client
    }

    /// JetStream on this connection.
    pub fn jetstream(&self) -> &jetstream::Context {
        &self.jetstream
    }

    /// Sends what is still in this process's buffers and waits until the server has it, at most `limit`.
    pub async fn flush(&self, limit: Duration) {
        if tokio::time::timeout(limit, self.client.flush()).await.is_err() {
            warn!("NATS did not take everything before the end");
        }
    }
}
