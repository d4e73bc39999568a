//! Encrypted connections to a real server, whose certificate comes from an authority of our own.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use staffetta_bus::{Bus, ClientCertificate, Tls};
use staffetta_testkit::{NatsOptions, NatsServer};
use tempfile::TempDir;

type Authority = CertifiedIssuer<'static, KeyPair>;

/// A folder of PEM files.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn put(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// What a server or a client shows: its certificate and its key.
    fn identity(&self, name: &str, authority: &Authority) -> ClientCertificate {
        let key = KeyPair::generate().unwrap();
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, authority).unwrap();
        ClientCertificate {
            certificate_file: self.put(&format!("{name}.pem"), &certificate.pem()),
            key_file: self.put(&format!("{name}-key.pem"), &key.serialize_pem()),
        }
    }
}

fn authority() -> Authority {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

async fn server(identity: &ClientCertificate, more: &str) -> NatsServer {
    let ClientCertificate { certificate_file, key_file } = identity;
    // Left to itself the server waits for two seconds, which are over at once on a busy machine.
    let extra_config = format!(
        "tls {{ cert_file: {certificate_file:?}, key_file: {key_file:?}, timeout: 60{more} }}\n\
         authorization {{ timeout: 60 }}"
    );
    NatsServer::start_with(NatsOptions { extra_config, ..NatsOptions::default() }).await.unwrap()
}

async fn connects(nats: &NatsServer, tls: &Tls) -> bool {
    match Bus::connect_with(nats.url(), "test", None, Some(tls)).await {
        Ok(bus) => {
            bus.client().flush().await.unwrap();
            true
        }
        Err(_) => false,
    }
}

#[tokio::test]
async fn only_the_named_authority_vouches_for_the_server() {
    let (files, ours, theirs) = (Files::new(), authority(), authority());
    let nats = server(&files.identity("server", &ours), "").await;

    let ca_file = Some(files.put("ca.pem", &ours.pem()));
    assert!(connects(&nats, &Tls { ca_file, client: None }).await);
    let ca_file = Some(files.put("other.pem", &theirs.pem()));
    assert!(!connects(&nats, &Tls { ca_file, client: None }).await);
    // The system's own authorities have never heard of it.
    assert!(Bus::connect(nats.url(), "test").await.is_err());
}

#[tokio::test]
async fn a_server_may_ask_for_a_certificate() {
    let (files, ours) = (Files::new(), authority());
    let ca_file = files.put("ca.pem", &ours.pem());
    let nats =
        server(&files.identity("server", &ours), &format!(", ca_file: {ca_file:?}, verify: true")).await;

    let client = files.identity("client", &ours);
    let tls = Tls { ca_file: Some(ca_file), client: Some(client) };
    assert!(connects(&nats, &tls).await);
    assert!(!connects(&nats, &Tls { client: None, ..tls }).await);
}

#[tokio::test]
async fn nothing_is_sent_in_the_clear_to_a_server_without_tls() {
    let (files, ours) = (Files::new(), authority());
    let nats = NatsServer::start().await.unwrap();
    let ca_file = Some(files.put("ca.pem", &ours.pem()));
    assert!(!connects(&nats, &Tls { ca_file, client: None }).await);
}
