//! The fault proxy, in front of a server that echoes.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::{io, net::SocketAddr, time::Duration};

use staffetta_testkit::{FaultProxy, HeldPort};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};

const LIMIT: Duration = Duration::from_secs(60);

/// Long enough for loopback to bring an answer, were there one.
const SILENCE: Duration = Duration::from_millis(200);

struct Echo {
    address: SocketAddr,
    _serving: JoinSet<()>,
}

impl Echo {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut clients = JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                clients.spawn(async move {
                    let (mut from, mut to) = stream.split();
                    copy(&mut from, &mut to).await
                });
            }
        });
        Self { address, _serving: serving }
    }
}

async fn connect(proxy: &FaultProxy) -> io::Result<TcpStream> {
    timeout(LIMIT, TcpStream::connect(proxy.address())).await.unwrap()
}

async fn read(stream: &mut TcpStream) -> io::Result<[u8; 4]> {
    let mut answer = [0; 4];
    timeout(LIMIT, stream.read_exact(&mut answer)).await.unwrap()?;
    Ok(answer)
}

async fn round_trip(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(b"ping").await?;
    assert_eq!(&read(stream).await?, b"ping");
    Ok(())
}

#[tokio::test]
async fn a_cut_breaks_connections_and_refuses_new_ones_until_healed() {
    let echo = Echo::start().await;
    let proxy = FaultProxy::before(echo.address).await.unwrap();
    let mut before = connect(&proxy).await.unwrap();
    round_trip(&mut before).await.unwrap();

    for _ in 0..3 {
        proxy.cut().await.unwrap();
        assert!(round_trip(&mut before).await.is_err());
        assert_eq!(connect(&proxy).await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);

        proxy.heal().await.unwrap();
        before = connect(&proxy).await.unwrap();
        round_trip(&mut before).await.unwrap();
    }
}

#[tokio::test]
async fn a_stall_lets_nothing_through_and_loses_nothing() {
    let echo = Echo::start().await;
    let proxy = FaultProxy::before(echo.address).await.unwrap();
    let mut before = connect(&proxy).await.unwrap();
    round_trip(&mut before).await.unwrap();

    proxy.stall().await.unwrap();
    let mut during = connect(&proxy).await.unwrap();
    before.write_all(b"held").await.unwrap();
    during.write_all(b"late").await.unwrap();
    assert!(timeout(SILENCE, before.read_u8()).await.is_err());
    assert!(timeout(SILENCE, during.read_u8()).await.is_err());

    proxy.heal().await.unwrap();
    assert_eq!(&read(&mut before).await.unwrap(), b"held");
    assert_eq!(&read(&mut during).await.unwrap(), b"late");
}

#[tokio::test]
async fn a_stalled_connection_can_be_cut() {
    let echo = Echo::start().await;
    let proxy = FaultProxy::before(echo.address).await.unwrap();
    let mut client = connect(&proxy).await.unwrap();

    proxy.stall().await.unwrap();
    client.write_all(b"held").await.unwrap();
    proxy.cut().await.unwrap();

    assert!(read(&mut client).await.is_err());
}

#[tokio::test]
async fn what_lies_behind_may_be_away() {
    let nobody = HeldPort::pick().unwrap();
    let proxy = FaultProxy::before(([127, 0, 0, 1], nobody.number()).into()).await.unwrap();
    let mut client = connect(&proxy).await.unwrap();
    assert!(read(&mut client).await.is_err());
}
