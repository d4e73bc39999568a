//! `/v1/messages`.

mod cancel;
mod form;
mod list;
mod notes;
mod publish;
mod read;
mod send;
mod view;
mod wanted;

use axum::extract::rejection::PathRejection;
use axum::extract::{DefaultBodyLimit, Path};
use staffetta_domain::CommandId;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) use self::notes::Notes;
pub(crate) use self::send::{BODIES_KIB, BODY_LIMIT, SendMessageError, take_body, take_in};
use self::view::MessageView;
pub(crate) use self::wanted::Wanted;
use crate::App;

/// Its addresses.
pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list::list, send::send))
        .routes(routes!(read::read, cancel::cancel))
        .layer(DefaultBodyLimit::max(send::BODY_LIMIT))
}

/// The message that the address names. What can't be an id is nobody's id.
fn named(id: Result<Path<String>, PathRejection>) -> Option<CommandId> {
    id.ok()?.parse().ok()
}
