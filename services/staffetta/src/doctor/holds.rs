//! Channels that have stopped sending until somebody acts.

use jiff::{SignedDuration, Timestamp};
use staffetta_store::ChannelHold;

use super::finding::{Area, Finding, Notes};
use super::patient::{Patient, within};
use super::print::span;

const HOLD: &str = "holds.channel";
/// Most holds that are told one by one.
const MOST: usize = 50;

pub(super) async fn examine(patient: &Patient<'_>) -> Vec<Finding> {
    let mut notes = Notes::of(Area::Holds);
    let store = match &patient.store {
        Ok(store) => store,
        Err(why) => {
            notes.error(HOLD, None, format!("not looked at: no database: {why}"), "See the area database.");
            return notes.end();
        }
    };
    match within(store.holds(None)).await {
        Ok(holds) => {
            if holds.is_empty() {
                notes.ok(HOLD, None, "no channel is on hold");
            }
            for hold in holds.iter().take(MOST) {
                judge(hold, patient, &mut notes);
            }
            if holds.len() > MOST {
                let seen = format!("{} more channels are on hold", holds.len() - MOST);
                notes.error(HOLD, None, seen, "`staffetta hold list` shows all.");
            }
        }
        Err(why) => {
            notes.error(
                HOLD,
                None,
                format!("can't be read: {why}"),
                "See what is said of the database's schema.",
            );
        }
    }
    notes.end()
}

fn judge(hold: &ChannelHold, patient: &Patient<'_>, notes: &mut Notes) {
    let ago = Timestamp::now().duration_since(hold.since).max(SignedDuration::ZERO);
    let seen = format!("on hold for {}: {} {}, {}", span(ago), hold.class, hold.code, hold.reason);
    let name = Some(hold.channel.as_str());
    let is_registered =
        patient.registry.as_ref().is_ok_and(|registry| registry.channel(&hold.channel).is_some());
    if patient.registry.is_ok() && !is_registered {
        let todo = "The channel is not in the registry any more, and its hold hinders nobody.";
        notes.note(HOLD, name, seen, todo);
        return;
    }
    let first = match hold.class.as_str() {
        "token" => "Give the channel a new access token and apply it",
        "account" => {
            "WhatsApp Manager says what stands in the way of the account (payment, policy, registration)"
        }
        "quota" => {
            "A limit of the account is used up: it opens by itself as time passes, or ask the provider for more"
        }
        _ => "See what the provider says in WhatsApp Manager",
    };
    let todo = format!(
        "{first}; then `staffetta hold lift {} --tenant {}` lets it try at once. Its commands wait and are not lost.",
        hold.channel, hold.tenant
    );
    notes.error(HOLD, name, seen, todo);
}
