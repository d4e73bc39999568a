//! `/v1/media`: files that are sent and received, which lie at the provider.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use staffetta_domain::ChannelId;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::App;
use crate::caller::{Caller, Reader, Sender};
use crate::problem::{Kind, Problem};
use crate::provider::{self, AskError, Line, Manner, UPLOAD_LIMIT, UploadError};
use crate::query::{InvalidParameter, Parameters, RawParameters};

/// Its addresses.
pub(crate) fn routes() -> OpenApiRouter<App> {
    let upload = OpenApiRouter::new().routes(routes!(upload)).layer(DefaultBodyLimit::max(UPLOAD_LIMIT));
    upload.routes(routes!(download))
}

/// Why a file was not taken or given.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MediaError {
    #[error(transparent)]
    Invalid(#[from] InvalidParameter),
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error(transparent)]
    Upload(#[from] UploadError),
    #[error("the provider took the file, and gave no id for it")]
    NoId,
}

impl IntoResponse for MediaError {
    fn into_response(self) -> Response {
        let wrong = |error: &UploadError| {
            let text = error.to_string();
            let field = text.split_once(": ").map_or("payload", |(field, _)| field);
            Problem::of(Kind::INVALID_PARAMETER, error).field(field.to_owned())
        };
        match self {
            Self::Ask(error) | Self::Upload(UploadError::Ask(error)) => error.into_response(),
            Self::Invalid(invalid) => {
                Problem::of(Kind::INVALID_PARAMETER, &invalid).field(invalid.name.clone()).into_response()
            }
            Self::Upload(error) => match &error {
                UploadError::TooLarge(_) => Problem::of(Kind::TOO_LARGE, &error),
                UploadError::Slow => Problem::of(Kind::SLOW_BODY, &error),
                UploadError::Broken | UploadError::Stopped(_) => Problem::of(Kind::BROKEN_BODY, &error),
                _ => wrong(&error),
            }
            .into_response(),
            Self::NoId => Problem::of(Kind::PROVIDER_AWAY, &Self::NoId).retry_after(10).into_response(),
        }
    }
}

/// A file that was uploaded.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MediaView {
    /// What a message names it by: `"image": {"id": …}`.
    id: String,
    /// The channel whose number may send it.
    channel: String,
}

/// Uploads a file, so that messages of the channel can name it.
#[utoipa::path(
    post,
    path = "/v1/media",
    operation_id = "upload_media",
    tag = "media",
    params(("channel" = String, Query, description = "The channel that will send it")),
    request_body(content = Vec<u8>, content_type = "multipart/form-data", description = "A form with the `file`, whose part says its `Content-Type`"),
    responses(
        (status = 201, description = "It is at WhatsApp, for 30 days", body = MediaView),
        (status = 400, description = "`invalid-parameter`, `broken-body`"),
        (status = 404, description = "`channel-not-found`"),
        (status = 408, description = "`slow-body`"),
        (status = 413, description = "`too-large`"),
        (status = 422, description = "`provider-refuses`"),
        (status = 503, description = "`provider-unavailable`"),
    ),
)]
pub(crate) async fn upload(
    State(app): State<App>,
    Sender(Caller(tenant)): Sender,
    parameters: RawParameters,
    request: Request,
) -> Result<(StatusCode, Json<MediaView>), MediaError> {
    let mut parameters = Parameters::of(parameters, &["channel"])?;
    let channel: Option<ChannelId> = parameters.id("channel")?;
    let channel = channel.ok_or_else(|| InvalidParameter::new("channel", "is missing"))?;
    let line = provider::of_channel(&app.registry.load(), &tenant.id, &channel)?;
    let _turn = app.turns.take(&tenant.id)?;
    let uploaded = provider::upload(&app, &line, Manner::FileAlone, request).await?;
    let id = uploaded["id"].as_str().ok_or(MediaError::NoId)?.to_owned();
    Ok((StatusCode::CREATED, Json(MediaView { id, channel: channel.to_string() })))
}

/// A file's bytes, with its type.
#[utoipa::path(
    get,
    path = "/v1/media/{id}",
    operation_id = "download_media",
    tag = "media",
    params(
        ("id" = String, Path, description = "The file's id, as a message names it"),
        ("channel" = Option<String>, Query, description = "The channel that it was sent or received on; without it your channels are tried"),
    ),
    responses(
        (status = 200, description = "The file", body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 404, description = "`media-not-found`, `channel-not-found`"),
        (status = 503, description = "`provider-unavailable`"),
    ),
)]
pub(crate) async fn download(
    State(app): State<App>,
    Reader(Caller(tenant)): Reader,
    id: Result<Path<String>, PathRejection>,
    parameters: RawParameters,
) -> Result<Response, MediaError> {
    let Path(id) = id.map_err(|_| AskError::NoFile)?;
    let mut parameters = Parameters::of(parameters, &["channel"])?;
    let channel: Option<ChannelId> = parameters.id("channel")?;
    let line: Option<Line> = match &channel {
        Some(channel) => Some(provider::of_channel(&app.registry.load(), &tenant.id, channel)?),
        None => None,
    };
    let turn = app.turns.take(&tenant.id)?;
    let number = line.as_ref().map(|line| line.number.as_str());
    Ok(provider::download(&app, &tenant.id, &id, number, turn).await?)
}
