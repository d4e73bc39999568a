//! A form (`multipart/form-data`) that is sent while it is being written: a file need not fit into memory.

use std::io;

use bytes::Bytes;
use futures_util::stream::{self, Stream};
use tokio::sync::mpsc;

/// Writes a form. Dropped before [`end`](Self::end), it breaks the form off, so that nobody takes half a file for a
/// whole one.
#[derive(Debug)]
pub struct Form {
    boundary: String,
    parts: mpsc::Sender<Part>,
}

/// The same form, as it is sent.
#[derive(Debug)]
pub struct FormBody {
    boundary: String,
    parts: mpsc::Receiver<Part>,
}

#[derive(Debug)]
enum Part {
    Bytes(Bytes),
    /// Nothing is missing.
    End,
}

/// Nobody reads the form any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the form is not read any more")]
pub struct Stopped;

/// Parts that may wait to be sent.
const WAITING: usize = 4;

/// A form whose parts are set apart by `boundary`, which must be letters and digits that nobody can guess.
pub fn form(boundary: String) -> (Form, FormBody) {
    let (sender, receiver) = mpsc::channel(WAITING);
    (Form { boundary: boundary.clone(), parts: sender }, FormBody { boundary, parts: receiver })
}

impl Form {
    /// Writes a field.
    ///
    /// # Errors
    /// If nobody reads the form any more.
    pub async fn text(&self, name: &str, value: &str) -> Result<(), Stopped> {
        let name = escaped(name);
        let part = format!(
            "--{}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n",
            self.boundary
        );
        self.write(part.into()).await
    }

    /// Begins a file: its bytes follow, then [`end_file`](Self::end_file).
    ///
    /// # Errors
    /// If nobody reads the form any more.
    pub async fn file(&self, name: &str, file_name: &str, content_type: &str) -> Result<(), Stopped> {
        let (name, file_name) = (escaped(name), escaped(file_name));
        let content_type = content_type.replace(['\r', '\n'], "");
        let head = format!(
            "--{}\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"{file_name}\"\r\n\
             Content-Type: {content_type}\r\n\r\n",
            self.boundary
        );
        self.write(head.into()).await
    }

    /// Writes what follows of the file, as soon as there is room for it.
    ///
    /// # Errors
    /// If nobody reads the form any more.
    pub async fn write(&self, bytes: Bytes) -> Result<(), Stopped> {
        self.parts.send(Part::Bytes(bytes)).await.map_err(|_| Stopped)
    }

    /// Ends the file.
    ///
    /// # Errors
    /// If nobody reads the form any more.
    pub async fn end_file(&self) -> Result<(), Stopped> {
        self.write(Bytes::from_static(b"\r\n")).await
    }

    /// Ends the form.
    ///
    /// # Errors
    /// If nobody reads the form any more.
    pub async fn end(self) -> Result<(), Stopped> {
        self.write(format!("--{}--\r\n", self.boundary).into()).await?;
        self.parts.send(Part::End).await.map_err(|_| Stopped)
    }
}

impl FormBody {
    pub(super) fn content_type(&self) -> String {
        format!("multipart/form-data; boundary={}", self.boundary)
    }

    pub(super) fn into_stream(self) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        stream::unfold(Some(self.parts), |parts| async move {
            let mut parts = parts?;
            match parts.recv().await {
                Some(Part::Bytes(bytes)) => Some((Ok(bytes), Some(parts))),
                Some(Part::End) => None,
                None => Some((Err(io::ErrorKind::UnexpectedEof.into()), None)),
            }
        })
    }
}

/// A name between quotation marks, as browsers write it.
fn escaped(name: &str) -> String {
    name.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A")
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;

    use super::*;

    async fn sent(body: FormBody) -> Result<String, io::Error> {
        let mut stream = Box::pin(body.into_stream());
        let mut text = String::new();
        while let Some(part) = stream.next().await {
            text.push_str(std::str::from_utf8(&part?).unwrap());
        }
        Ok(text)
    }

    #[tokio::test]
    async fn a_form_is_sent_as_it_is_written() {
        let (form, body) = form("x1".into());
        let writing = async {
            form.text("type", "image/png").await.unwrap();
            form.file("file", "a\"\r\n.png", "image/png\r\nX: y").await.unwrap();
            form.write(Bytes::from_static(b"ab")).await.unwrap();
            form.write(Bytes::from_static(b"cd")).await.unwrap();
            form.end_file().await.unwrap();
            form.end().await
        };
        let expected = "--x1\r\nContent-Disposition: form-data; name=\"type\"\r\n\r\nimage/png\r\n\
                        --x1\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a%22%0D%0A.png\"\r\n\
                        Content-Type: image/pngX: y\r\n\r\nabcd\r\n--x1--\r\n";
        assert_eq!(body.content_type(), "multipart/form-data; boundary=x1");
        let (written, text) = tokio::join!(writing, sent(body));
        assert_eq!((written, text.unwrap().as_str()), (Ok(()), expected));
    }

    #[tokio::test]
    async fn a_form_that_nobody_ends_breaks_off() {
        let (form, body) = form("x1".into());
        form.file("file", "a", "text/plain").await.unwrap();
        drop(form);
        assert_eq!(sent(body).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn a_form_that_nobody_reads_is_not_written() {
        let (form, body) = form("x1".into());
        drop(body);
        assert_eq!(form.text("type", "x").await, Err(Stopped));
        assert_eq!(form.end().await, Err(Stopped));
    }
}
