//! A file on its way to the provider: read and sent at the same time, never whole in memory.

use std::time::Duration;

use axum::extract::multipart::{Field, MultipartError};
use axum::extract::{FromRequest as _, Multipart, Request};
use axum::http::StatusCode;
use serde_json::Value;
use staffetta_providers::graph::{FILE_TIME, Form, LARGEST_FILE, Stopped, form};
use tokio::time::timeout;
use uuid::Uuid;

use super::{AskError, Line};
use crate::App;

/// Largest body of an upload, in bytes: the largest file, and what a form has around it.
pub(crate) const UPLOAD_LIMIT: usize = LARGEST_FILE as usize + (64 << 10);

/// Longest time for an upload, its answer included.
pub(crate) const UPLOAD_TIME: Duration = FILE_TIME.saturating_add(Duration::from_secs(5));

/// Longest wait for the next part of the client's form.
const STANDSTILL: Duration = Duration::from_secs(30);

/// Largest field other than the file, in bytes.
const FIELD_LIMIT: usize = 1 << 10;

/// How the client writes its form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// As the Cloud API wants it, which says itself what is missing.
    CloudApi,
    /// A `file`, which may come with its `type`.
    FileAlone,
}

/// Why a file was not uploaded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UploadError {
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error("the body must be a form (multipart/form-data)")]
    NoForm,
    #[error("the form is broken, or ended before its time")]
    Broken,
    #[error("{0}: is no field here")]
    UnknownField(String),
    #[error("{0}: must have 1024 bytes of text at most")]
    LongField(String),
    #[error("file: is missing")]
    NoFile,
    #[error("type: is missing: the file's part must say its Content-Type, or a field type stand before it")]
    NoType,
    #[error("a file of this type may have {} bytes at most", .0)]
    TooLarge(u64),
    #[error("nothing more of the form came for 30 seconds")]
    Slow,
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// Uploads the file of the request's form for the line's number. Answers what the provider does.
pub(crate) async fn upload(
    app: &App,
    line: &Line,
    manner: Manner,
    request: Request,
) -> Result<Value, UploadError> {
    let from = Multipart::from_request(request, &()).await.map_err(|_| UploadError::NoForm)?;
    let (to, body) = form(Uuid::now_v7().simple().to_string());
    let sending = app.graph.upload(&line.token, &line.number, body);
    let copying = copy(from, to, manner);
    tokio::pin!(sending, copying);
    // Whoever ends first decides: an answer that comes early is one, and a form that breaks off has none.
    let sent = tokio::select! {
        biased;
        sent = &mut sending => sent,
        copied = &mut copying => match copied {
            Ok(()) | Err(UploadError::Stopped(_)) => sending.await,
            Err(error) => return Err(error),
        },
    };
    sent.map_err(|error| AskError::of(line, error).into())
}

async fn copy(mut from: Multipart, to: Form, manner: Manner) -> Result<(), UploadError> {
    let mut kind = None;
    let mut files = 0;
    if manner == Manner::FileAlone {
        to.text("messaging_product", "whatsapp").await?;
    }
    while let Some(field) = in_time(from.next_field()).await? {
        let name = field.name().unwrap_or_default().to_owned();
        match (name.as_str(), manner) {
            ("file", _) if files == 0 => {
                files += 1;
                if manner == Manner::FileAlone {
                    let told = kind.take().or_else(|| field.content_type().map(str::to_owned));
                    to.text("type", &told.ok_or(UploadError::NoType)?).await?;
                }
                copy_file(field, &to, manner).await?;
            }
            ("type", Manner::FileAlone) => kind = Some(text(field, &name).await?),
            ("messaging_product" | "type" | "ttl_minutes", Manner::CloudApi) => {
                to.text(&name, &text(field, &name).await?).await?;
            }
            _ => return Err(UploadError::UnknownField(name.chars().take(40).collect())),
        }
    }
    if files == 0 && manner == Manner::FileAlone {
        return Err(UploadError::NoFile);
    }
    Ok(to.end().await?)
}

async fn copy_file(mut file: Field<'_>, to: &Form, manner: Manner) -> Result<(), UploadError> {
    let unnamed = if manner == Manner::FileAlone { "file" } else { "" };
    let name = file.file_name().unwrap_or(unnamed).to_owned();
    let kind = file.content_type().unwrap_or("application/octet-stream").to_owned();
    to.file("file", &name, &kind).await?;
    let most = largest(&kind);
    let mut so_far = 0;
    while let Some(part) = in_time(file.chunk()).await? {
        so_far += part.len() as u64;
        if so_far > most {
            return Err(UploadError::TooLarge(most));
        }
        to.write(part).await?;
    }
    Ok(to.end_file().await?)
}

async fn text(mut field: Field<'_>, name: &str) -> Result<String, UploadError> {
    let too_long = || UploadError::LongField(name.to_owned());
    let mut text = Vec::new();
    while let Some(part) = in_time(field.chunk()).await? {
        if text.len() + part.len() > FIELD_LIMIT {
            return Err(too_long());
        }
        text.extend_from_slice(&part);
    }
    String::from_utf8(text).map_err(|_| too_long())
}

async fn in_time<T>(read: impl Future<Output = Result<T, MultipartError>>) -> Result<T, UploadError> {
    match timeout(STANDSTILL, read).await {
        Ok(Ok(read)) => Ok(read),
        Ok(Err(error)) if error.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            Err(UploadError::TooLarge(LARGEST_FILE))
        }
        Ok(Err(_)) => Err(UploadError::Broken),
        Err(_) => Err(UploadError::Slow),
    }
}

/// The most that the provider takes of a type. What types there are is its own to say.
fn largest(kind: &str) -> u64 {
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match kind.split_once('/') {
        Some(("image", "webp")) => 500 << 10,
        Some(("image", _)) => 5 << 20,
        Some(("audio" | "video", _)) => 16 << 20,
        _ => LARGEST_FILE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_has_its_limit() {
        for (kind, most) in [
            ("image/jpeg", 5 << 20),
            ("Image/PNG", 5 << 20),
            ("image/webp", 500 << 10),
            ("audio/ogg; codecs=opus", 16 << 20),
            ("video/mp4", 16 << 20),
            ("application/pdf", 100 << 20),
            ("text/plain", 100 << 20),
            ("", 100 << 20),
        ] {
            assert_eq!(largest(kind), most, "{kind}");
        }
    }
}
