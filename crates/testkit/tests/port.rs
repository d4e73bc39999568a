//! Ports that are held.

use std::{io::ErrorKind, net::SocketAddr};

use staffetta_testkit::HeldPort;
use tokio::net::{TcpListener, TcpStream};

#[tokio::test]
async fn a_held_port_is_its_servers_own_each_time_anew() {
    let held = HeldPort::pick().unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], held.number()));
    for _ in 0..3 {
        assert_eq!(TcpStream::connect(address).await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
        let listener = TcpListener::bind(address).await.unwrap();
        let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        assert_eq!(client.unwrap().peer_addr().unwrap(), address);
        accepted.unwrap();
    }
}

#[tokio::test]
async fn nobody_is_given_a_port_that_is_held() {
    let held: Vec<HeldPort> = (0..200).map(|_| HeldPort::pick().unwrap()).collect();
    let mut numbers: Vec<u16> = held.iter().map(HeldPort::number).collect();
    for _ in 0..1_000 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        assert!(!numbers.contains(&listener.local_addr().unwrap().port()));
    }
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), held.len(), "one port was given twice");
}
