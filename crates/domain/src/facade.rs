//! The ids that stand for messages which were sent the way the Cloud API is spoken to.
//!
//! A client of that kind wants a message id in the answer to its request, before the provider has given one. It gets an
//! id that is made of the command's own, looks like the provider's and is told from it, and leads back to the command.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use crate::CommandId;

/// What the ids of such commands begin with.
pub const FACADE_PREFIX: &str = "graph-";

/// What stands before the base64 in every message id of WhatsApp's.
const WAMID: &str = "wamid.";
/// What stands before the command's id within the base64.
const OURS: &str = "staffetta:";

/// The message id that stands for the command: the same each time, and nobody else's.
pub fn facade_wamid(command: &CommandId) -> String {
    format!("{WAMID}{}", STANDARD_NO_PAD.encode(format!("{OURS}{command}")))
}

/// The command that a message id of [`facade_wamid`] stands for; `None` for the provider's own ids, and for commands that
/// were not sent that way. Whether there is such a command, and whose it is, it does not tell.
pub fn command_of_facade_wamid(wamid: &str) -> Option<CommandId> {
    let text = STANDARD_NO_PAD.decode(wamid.strip_prefix(WAMID)?).ok()?;
    let id = std::str::from_utf8(&text).ok()?.strip_prefix(OURS)?;
    if id.starts_with(FACADE_PREFIX) { id.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_leads_back_to_its_command() {
        let command: CommandId = "graph-0198c0ffee0074a0b1d2e3f405162738".parse().unwrap();
        let wamid = facade_wamid(&command);
        assert_eq!(wamid, "wamid.c3RhZmZldHRhOmdyYXBoLTAxOThjMGZmZWUwMDc0YTBiMWQyZTNmNDA1MTYyNzM4");
        assert_eq!(command_of_facade_wamid(&wamid), Some(command));
    }

    #[test]
    fn every_other_id_is_the_provider_s() {
        let of = |text: &str| format!("wamid.{}", STANDARD_NO_PAD.encode(text));
        for other in [
            "",
            "wamid.",
            "wamid.HBgLMzkzNDgxMjEzNDU2FQIAERgSQzE=",
            "c3RhZmZldHRhOmdyYXBoLTAx",
            &of("staffetta:inv-2026-0042"),
            &of("staffetta:graph- 1"),
            &of("graph-1"),
            &of("staffetta:"),
        ] {
            assert_eq!(command_of_facade_wamid(other), None, "{other}");
        }
        assert_eq!(facade_wamid(&"inv-1".parse().unwrap()), of("staffetta:inv-1"));
        assert!(command_of_facade_wamid(&format!("wamid.{}", "A".repeat(100_000))).is_none());
    }
}
