//! Ports that nobody else gets.

use std::{io, net::Ipv4Addr};

use tokio::net::TcpSocket;

/// A port on 127.0.0.1 that the system gives to nobody else as long as this lives. Connections to it are refused, unless
/// a server that was told its number listens on it. That one may end and come back: in between, the port is not lost to
/// another test.
#[derive(Debug)]
pub struct HeldPort {
    /// Bound, and never listens: whoever asks for this very port, with `SO_REUSEADDR` as servers do, may have it too.
    _socket: TcpSocket,
    number: u16,
}

impl HeldPort {
    /// One that is free.
    ///
    /// # Errors
    ///
    /// When the system has none.
    pub fn pick() -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
        let number = socket.local_addr()?.port();
        Ok(Self { _socket: socket, number })
    }

    /// Its number.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.number
    }
}
