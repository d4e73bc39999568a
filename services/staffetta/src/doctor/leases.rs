//! Who owns the channels and the endpoints.

use staffetta_bus::{Bus, Group, PARTS, PartOwners};

use super::finding::{Area, Finding, Notes};
use super::patient::within;
use super::print::counted;

pub(super) async fn examine(bus: &Bus) -> Vec<Finding> {
    let mut notes = Notes::of(Area::Nats);
    match within(bus.part_owners()).await {
        Ok(groups) => groups.iter().for_each(|owners| judge(owners, &mut notes)),
        Err(why) => notes.error(
            "nats.owners",
            None,
            format!("who owns what can't be read: {why}"),
            "See what is said of the bucket LEASES.",
        ),
    }
    notes.end()
}

fn judge(owners: &PartOwners, notes: &mut Notes) {
    let (service, what) = match owners.group {
        Group::Send => ("dispatcher", "channels"),
        Group::Deliver => ("delivery", "endpoints"),
    };
    let members = owners.members.len();
    let owned = usize::from(PARTS) - owners.vacant.len();
    let seen =
        format!("{owned} of {PARTS} parts of the {what} are owned, by {}", counted(members, "process"));
    if members == 0 {
        notes.error(
            "nats.owners",
            Some(service),
            seen,
            format!("No {service} runs, or none is connected to NATS: start one, or look at its log and its /readyz."),
        );
    } else if !owners.vacant.is_empty() {
        notes.warning(
            "nats.owners",
            Some(service),
            seen,
            format!(
                "Right after a start, a stop or a failover that passes within 5 seconds: look again. If it stays, the log \
                 of each {service} says why it takes no part."
            ),
        );
    } else if owners.members.values().any(|parts| *parts == 0) {
        let idle = owners.members.values().filter(|parts| **parts == 0).count();
        notes.note(
            "nats.owners",
            Some(service),
            format!("{seen}; {idle} of them own none"),
            format!(
                "Parts are being shared anew, or there are more than {PARTS} processes: the rest stand by."
            ),
        );
    } else {
        notes.ok("nats.owners", Some(service), seen);
    }
}
