//! One keep-alive HTTP/1.1 connection, with no more than a load generator needs: it shares the cores with the server.

use std::net::SocketAddr;

use anyhow::{Context, bail};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Answers of ingress are far smaller.
const LARGEST_ANSWER: usize = 16 << 10;

/// A connection on which one request at a time is made.
#[derive(Debug)]
pub(super) struct Connection {
    address: SocketAddr,
    stream: TcpStream,
    answer: Vec<u8>,
}

impl Connection {
    pub(super) async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        Ok(Self { address, stream: connect(address).await?, answer: Vec::with_capacity(1024) })
    }

    /// Sends a whole request and gives back the status of its whole answer.
    ///
    /// Fails when the connection breaks, or the answer is not HTTP/1.1 with a length. The caller limits the time.
    pub(super) async fn exchange(&mut self, request: &[u8]) -> anyhow::Result<u16> {
        self.stream.write_all(request).await.context("sending a request")?;
        self.answer.clear();
        loop {
            let read = self.stream.read_buf(&mut self.answer).await.context("reading an answer")?;
            if let Some(answer) = Answer::parse(&self.answer)? {
                // Whoever is refused may find the connection closed next time.
                if answer.status != 200 {
                    self.stream = connect(self.address).await?;
                }
                return Ok(answer.status);
            }
            if read == 0 || self.answer.len() > LARGEST_ANSWER {
                bail!("the answer is not whole after {} bytes", self.answer.len());
            }
        }
    }
}

async fn connect(address: SocketAddr) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect(address).await.with_context(|| format!("connecting to {address}"))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: u16,
}

impl Answer {
    /// `None` while it isn't whole.
    fn parse(bytes: &[u8]) -> anyhow::Result<Option<Self>> {
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
        let head = str::from_utf8(&bytes[..end]).context("the answer's head is not text")?;
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok());
        let status = status.context("the answer is not HTTP/1.1")?;
        let length = lines.find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
        });
        let length = length.context("the answer has no length")?;
        Ok((bytes.len() - (end + 4) >= length).then_some(Self { status }))
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn whoever_is_refused_goes_on_even_if_the_connection_is_closed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = async {
            for status in ["503 Service Unavailable", "200 OK"] {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 4];
                stream.read_exact(&mut request).await.unwrap();
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        };
        let client = async {
            let mut connection = Connection::open(address).await.unwrap();
            (connection.exchange(b"POST").await.unwrap(), connection.exchange(b"POST").await.unwrap())
        };
        let ((), statuses) = tokio::join!(server, client);
        assert_eq!(statuses, (503, 200));
    }

    #[test]
    fn an_answer_counts_once_it_is_whole() {
        let whole = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\n{}";
        for end in 0..whole.len() {
            assert_eq!(Answer::parse(&whole[..end]).unwrap(), None);
        }
        assert_eq!(Answer::parse(whole).unwrap(), Some(Answer { status: 503 }));
        assert!(Answer::parse(b"HTTP/1.0 200 OK\r\n\r\n").is_err());
        assert!(Answer::parse(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }
}
