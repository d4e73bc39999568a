//! Access tokens: whose they are, and until when.

use crate::control::ControlError;
use crate::world::{Channel, State, World, unix_ms};

/// What is known of a token.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Token {
    /// Unix seconds; `None` if it never ends.
    pub(crate) expires_at: Option<u64>,
}

impl Token {
    pub(crate) fn is_valid(self) -> bool {
        self.expires_at.is_none_or(|end| unix_ms() / 1000 < end)
    }
}

impl Channel {
    /// Whether the token is this number's own, and taken.
    pub(crate) fn takes(&self, token: &str) -> bool {
        self.config.access_token == token && Token { expires_at: self.token_ends }.is_valid()
    }
}

impl State {
    /// What is known of a token; `None` if it is nobody's.
    pub(crate) fn token(&self, shown: &str) -> Option<Token> {
        let channel = self.channels.values().find(|channel| channel.config.access_token == shown)?;
        Some(Token { expires_at: channel.token_ends })
    }
}

impl World {
    /// When the number's token ends, in Unix seconds. From then on it is refused with 190.
    pub(crate) fn set_token_end(&self, number: &str, end: Option<u64>) -> Result<(), ControlError> {
        let mut state = self.state();
        let channel = state.channels.get_mut(number).ok_or(ControlError::UnknownNumber)?;
        channel.token_ends = end;
        Ok(())
    }
}
