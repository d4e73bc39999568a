//! A file on its way from the provider.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, Stream};
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE};
use reqwest::{Response, StatusCode};
use tokio::time::timeout;

use super::{CallError, LARGEST_FILE};

/// A file of which the first bytes have not been read yet.
#[derive(Debug)]
pub struct Download {
    response: Response,
}

/// Longest wait for the next part of a file.
const STANDSTILL: Duration = Duration::from_secs(30);

impl Download {
    pub(super) fn begin(response: Response) -> Result<Self, CallError> {
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND | StatusCode::GONE => return Err(CallError::Gone),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Err(CallError::Token),
            _ => return Err(CallError::NoAnswer("the provider does not give the file")),
        }
        let download = Self { response };
        if download.length().is_some_and(|length| length > LARGEST_FILE) {
            return Err(CallError::NoAnswer("the file is larger than any that the provider takes"));
        }
        Ok(download)
    }

    /// The type that the provider says the file has.
    pub fn content_type(&self) -> Option<&str> {
        self.response.headers().get(CONTENT_TYPE)?.to_str().ok()
    }

    /// How many bytes the file has, if the provider said so.
    pub fn length(&self) -> Option<u64> {
        self.response.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
    }

    /// The file, part by part. It ends with an error when the provider falls silent, when the time for it is over, and
    /// when there is more of it than any file has.
    pub fn into_stream(self) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        stream::unfold(Some((self.response, 0)), |state| async move {
            let (mut response, before) = state?;
            let part = match timeout(STANDSTILL, response.chunk()).await {
                Ok(Ok(part)) => part?,
                Ok(Err(_)) => return Some((Err(io::ErrorKind::UnexpectedEof.into()), None)),
                Err(_) => return Some((Err(io::ErrorKind::TimedOut.into()), None)),
            };
            let so_far = before + part.len() as u64;
            if so_far > LARGEST_FILE {
                return Some((Err(io::ErrorKind::FileTooLarge.into()), None));
            }
            Some((Ok(part), Some((response, so_far))))
        })
    }
}
