//! The rules that a well-formed send meets, in the order in which they apply.

use crate::graph_error::GraphError;
use crate::options::{Behaviour, WindowMode, WindowState};
use crate::statuses::Fate;
use crate::templates::{TemplateCategory, Templates};
use crate::users::{UserState, Users};
use crate::validate::{Recipient, Send};
use crate::webhooks::Pricing;
use crate::world::Channel;

/// Decides on a send that arrived at `at`: registration, maintenance, template, user, then the limits.
///
/// What the limits refuse for the pair or the window has used the number's throughput; what is refused for
/// anything else has not.
pub(crate) fn admit(
    channel: &mut Channel,
    send: &Send,
    behaviour: &Behaviour,
    (templates, users): (&Templates, &Users),
    at: u64,
) -> Result<Fate, GraphError> {
    if !channel.registration.is_registered() {
        return Err(GraphError::of(133_010));
    }
    if channel.in_maintenance(at) {
        return Err(GraphError::of(131_057));
    }
    let category = send.template.as_ref().map(|template| templates.check(template)).transpose()?;
    if category == Some(TemplateCategory::Authentication) && matches!(send.to, Recipient::User(_)) {
        return Err(GraphError::of(131_062));
    }
    let marketing = category == Some(TemplateCategory::Marketing);
    let user = channel.user(send.to.id(), users);
    match user {
        UserState::Blocked => return Err(GraphError::of(130_403)),
        UserState::OptedOut if marketing => return Err(GraphError::of(131_050)),
        _ => {}
    }
    let late = limits(channel, send, behaviour, at)?;
    Ok(match (late, user) {
        (Some(error), _) => Fate::Fails(error),
        (None, UserState::Unreachable) => Fate::Fails(GraphError::of(131_026)),
        (None, UserState::Capped) if marketing => Fate::Fails(GraphError::of(131_049)),
        (None, _) => Fate::Arrives(Pricing::of(category)),
    })
}

/// Throughput, then pair, then window. Gives back an error that shows only after the send was accepted.
fn limits(
    channel: &mut Channel,
    send: &Send,
    behaviour: &Behaviour,
    at: u64,
) -> Result<Option<GraphError>, GraphError> {
    let rate = usize::try_from(channel.rate_at(at).get()).unwrap_or(usize::MAX);
    if !channel.throughput.admit(at, rate) {
        return Err(GraphError::of(130_429));
    }
    let user = send.to.id();
    if behaviour.pair.is_some_and(|limit| !channel.pairs.admit(user, at, limit)) {
        return Err(GraphError::of(131_056));
    }
    let windows = behaviour.windows;
    if !send.is_free_form() || channel.windows.state(user, at, windows) == WindowState::Open {
        return Ok(None);
    }
    match windows.mode {
        WindowMode::Off => Ok(None),
        WindowMode::Sync => Err(GraphError::of(131_047)),
        WindowMode::Async => Ok(Some(GraphError::of(131_047))),
    }
}
