//! A tenant's numbers at the Cloud API.

use std::collections::HashSet;
use std::sync::Arc;

use secrecy::SecretString;
use staffetta_bus::{Channel, Provider, Registry};
use staffetta_domain::{ChannelId, TenantId};

use super::AskError;

/// A number, and what is shown for it.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) channel: Arc<Channel>,
    /// Meta's id of the number.
    pub(crate) number: String,
    pub(crate) token: SecretString,
}

impl Line {
    fn of(channel: &Arc<Channel>) -> Result<Self, AskError> {
        let number = channel.phone_number_id.clone().ok_or(AskError::OtherProvider)?;
        let token = channel.access_token.clone().ok_or_else(|| AskError::NoToken(channel.id.clone()))?;
        Ok(Self { channel: Arc::clone(channel), number, token })
    }
}

/// The tenant's line of the number that Meta calls so.
pub(crate) fn of_number(registry: &Registry, tenant: &TenantId, number: &str) -> Result<Line, AskError> {
    let channel = registry.channel_of_number(number).filter(|channel| speaks(registry, channel, tenant));
    Line::of(channel.ok_or(AskError::NotYours)?)
}

/// The line of one of the tenant's channels.
pub(crate) fn of_channel(
    registry: &Registry,
    tenant: &TenantId,
    channel: &ChannelId,
) -> Result<Line, AskError> {
    let channel = registry.channel(channel).filter(|channel| channel.tenant.id == *tenant);
    let channel = channel.ok_or(AskError::NoChannel)?;
    if speaks(registry, channel, tenant) { Line::of(channel) } else { Err(AskError::OtherProvider) }
}

/// One of the tenant's lines of an account (a WABA), the same as long as the registry stays as it is.
pub(crate) fn of_account(registry: &Registry, tenant: &TenantId, account: &str) -> Result<Line, AskError> {
    let of_account = own_channels(registry, tenant);
    let mut of_account = of_account.into_iter().filter(|channel| channel.waba_id.as_deref() == Some(account));
    let first = Line::of(of_account.next().ok_or(AskError::NotYours)?);
    // Any token of the account's will do.
    first.or_else(|error| of_account.find_map(|channel| Line::of(channel).ok()).ok_or(error))
}

/// The tenant's lines, by channel. One whose token can't be had is left out.
pub(crate) fn own(registry: &Registry, tenant: &TenantId) -> Vec<Line> {
    own_channels(registry, tenant).into_iter().filter_map(|channel| Line::of(channel).ok()).collect()
}

impl Line {
    /// Those of the tenant's lines that reach different accounts, one of each, by account.
    pub(crate) fn of_each_account(registry: &Registry, tenant: &TenantId) -> Vec<(String, Self)> {
        let mut met = HashSet::new();
        let lines = own(registry, tenant).into_iter();
        let mut lines: Vec<_> = lines
            .filter_map(|line| Some((line.channel.waba_id.clone()?, line)))
            .filter(|(account, _)| met.insert(account.clone()))
            .collect();
        lines.sort_by(|(one, _), (other, _)| one.cmp(other));
        lines
    }
}

fn own_channels<'a>(registry: &'a Registry, tenant: &TenantId) -> Vec<&'a Arc<Channel>> {
    let mut own: Vec<_> = registry.channels().filter(|channel| speaks(registry, channel, tenant)).collect();
    own.sort_by(|one, other| one.id.cmp(&other.id));
    own
}

/// Whether the tenant speaks through this channel with the Cloud API. A channel whose number another has claimed since
/// does not.
fn speaks(registry: &Registry, channel: &Channel, tenant: &TenantId) -> bool {
    let number = channel.phone_number_id.as_deref();
    channel.tenant.id == *tenant
        && channel.provider == Provider::CloudApi
        && number
            .and_then(|number| registry.channel_of_number(number))
            .is_some_and(|owner| owner.id == channel.id)
}
