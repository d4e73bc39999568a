//! Users who can't or don't want to be written to.

use std::collections::HashMap;
use std::time::Duration;

use rand::Rng as _;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::chance::{Purpose, generator};
use crate::control::ControlError;
use crate::options::Behaviour;
use crate::validate::{is_user_id, phone};
use crate::world::{Channel, State, World, unix_ms};

/// More users than this are refused, per number and for all numbers together.
const MAX_USERS: usize = 100_000;

/// How a user stands to a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UserState {
    /// Messages arrive.
    #[default]
    Fine,
    /// The user has blocked the business: sends are refused with 130403, until the user writes.
    Blocked,
    /// Not on WhatsApp: sends are accepted, then fail with 131026.
    Unreachable,
    /// Has had enough marketing for now: marketing templates are accepted, then fail with 131049.
    Capped,
    /// Opted out of marketing: marketing templates are refused with 131050.
    OptedOut,
}

/// The id by which an account knows the user of a phone number.
pub(crate) fn user_id(seed: u64, waba_id: &str, phone: &str) -> String {
    let mut rng = generator(seed, &format!("{waba_id} {phone}"), Purpose::UserId, 0);
    let country = if phone.starts_with("39") { "IT" } else { "US" };
    format!("{country}.{}", rng.random_range(1_000_000_000_000_000_000_u64..u64::MAX))
}

/// How users stand; those who are fine are not listed.
pub(crate) type Users = HashMap<Box<str>, UserState>;

impl Channel {
    /// How a user stands to this number: what was said for it alone comes before what was said for all.
    pub(crate) fn user(&self, user: &str, everywhere: &Users) -> UserState {
        self.users.get(user).or_else(|| everywhere.get(user)).copied().unwrap_or_default()
    }

    /// Whoever writes has unblocked the business.
    pub(crate) fn unblock(&mut self, user: &str, everywhere: &Users) {
        if self.user(user, everywhere) == UserState::Blocked {
            self.users.insert(user.into(), UserState::Fine);
        }
    }
}

impl World {
    /// Says how a user stands to one number, or with `None` to all. Where that begins or ends an opt-out the
    /// number's webhook is told. Fails on what is not a user, an unknown number, and too many users.
    pub(crate) fn put_user(
        &self,
        user: &str,
        stands: UserState,
        number: Option<&str>,
    ) -> Result<(), ControlError> {
        let user =
            if is_user_id(user) { user.to_owned() } else { phone(user).ok_or(ControlError::BadUser)? };
        let mut state = self.state();
        let State { channels, behaviour, users, .. } = &mut *state;
        let Some(number) = number else {
            has_room(users, &user)?;
            for channel in channels.values_mut() {
                let before = channel.user(&user, users);
                channel.users.remove(user.as_str());
                self.tell_preference(channel, behaviour, &user, (before, stands));
            }
            match stands {
                UserState::Fine => users.remove(user.as_str()),
                stands => users.insert(user.into(), stands),
            };
            return Ok(());
        };
        let channel = channels.get_mut(number).ok_or(ControlError::UnknownNumber)?;
        has_room(&channel.users, &user)?;
        let before = channel.user(&user, users);
        channel.users.insert(user.as_str().into(), stands);
        self.tell_preference(channel, behaviour, &user, (before, stands));
        Ok(())
    }

    /// Posts that marketing is to stop or may go on, if that changed.
    fn tell_preference(
        &self,
        channel: &mut Channel,
        behaviour: &std::sync::Arc<Behaviour>,
        user: &str,
        (before, after): (UserState, UserState),
    ) {
        let (value, detail) = match (before == UserState::OptedOut, after == UserState::OptedOut) {
            (false, true) => ("stop", "User requested to stop marketing messages"),
            (true, false) => ("resume", "User requested to resume marketing messages"),
            _ => return,
        };
        let id = if is_user_id(user) { "user_id" } else { "wa_id" };
        let value = json!({
            "messaging_product": "whatsapp",
            "metadata": {
                "display_phone_number": channel.config.display_phone_number,
                "phone_number_id": channel.config.phone_number_id,
            },
            "contacts": [{ "profile": { "name": "A User" }, id: user }],
            "user_preferences": [{
                id: user,
                "detail": detail,
                "category": "marketing_messages",
                "value": value,
                "timestamp": unix_ms() / 1000,
            }],
        });
        self.announce(channel, behaviour, ("user_preferences", value), Duration::ZERO);
    }
}

fn has_room(users: &Users, user: &str) -> Result<(), ControlError> {
    if users.len() < MAX_USERS || users.contains_key(user) {
        Ok(())
    } else {
        Err(ControlError::TooMany { what: "users", most: MAX_USERS })
    }
}
