//! The nats-server harness, with a client against it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::time::Duration;

use async_nats::{
    Client, ConnectError, ConnectOptions,
    jetstream::{self, stream},
};
use staffetta_testkit::{NatsOptions, NatsServer, NatsSync, until};

const LIMIT: Duration = Duration::from_secs(60);

async fn connect(server: &NatsServer) -> Result<Client, ConnectError> {
    ConnectOptions::new().connection_timeout(LIMIT).connect(server.url()).await
}

async fn jetstream(server: &NatsServer) -> jetstream::Context {
    let client = connect(server).await.unwrap();
    jetstream::ContextBuilder::new().timeout(LIMIT).ack_timeout(LIMIT).build(client)
}

async fn stream(server: &NatsServer) -> stream::Stream {
    let config =
        stream::Config { name: "KEPT".into(), subjects: vec!["kept.*".into()], ..Default::default() };
    jetstream(server).await.get_or_create_stream(config).await.unwrap()
}

async fn publish(server: &NatsServer, payload: &'static str) {
    jetstream(server).await.publish("kept.one", payload.into()).await.unwrap().await.unwrap();
}

async fn messages(server: &NatsServer) -> u64 {
    stream(server).await.get_info().await.unwrap().state.messages
}

#[tokio::test]
async fn a_restart_keeps_the_port_and_what_was_published() {
    let mut server = NatsServer::start().await.unwrap();
    let url = server.url().to_owned();
    stream(&server).await;
    publish(&server, "before").await;

    server.restart().await.unwrap();

    assert_eq!(server.url(), url);
    assert_eq!(messages(&server).await, 1);
    publish(&server, "after").await;
    assert_eq!(messages(&server).await, 2);
}

#[tokio::test]
async fn a_kill_keeps_what_was_acknowledged() {
    let options = NatsOptions { sync: NatsSync::Always, ..NatsOptions::default() };
    let mut server = NatsServer::start_with(options).await.unwrap();
    stream(&server).await;
    publish(&server, "before").await;

    server.kill().await.unwrap();
    assert!(connect(&server).await.is_err());
    server.restart().await.unwrap();

    assert_eq!(messages(&server).await, 1);
}

#[tokio::test]
async fn a_connected_client_finds_a_restarted_server_again() {
    let mut server = NatsServer::start().await.unwrap();
    let client = connect(&server).await.unwrap();

    server.stop().await.unwrap();
    server.restart().await.unwrap();

    until("the client's next round trip", LIMIT, async || client.flush().await.ok()).await.unwrap();
}

#[tokio::test]
async fn options_reach_the_server() {
    let options = NatsOptions {
        max_payload: 4096,
        extra_config: "server_name: by-another-name".into(),
        ..NatsOptions::default()
    };
    let server = NatsServer::start_with(options).await.unwrap();
    let info = connect(&server).await.unwrap().server_info();
    assert_eq!((info.max_payload, info.server_name.as_str()), (4096, "by-another-name"));
}

#[tokio::test]
async fn a_server_that_does_not_come_up_says_why() {
    let options = NatsOptions { extra_config: "no_such_option: 1".into(), ..NatsOptions::default() };
    let error = NatsServer::start_with(options).await.unwrap_err();
    assert!(format!("{error:#}").contains("no_such_option"), "{error:#}");
}
