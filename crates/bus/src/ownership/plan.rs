//! What a member has to do now, from what it has seen. Nothing here waits or writes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::PARTS;
use super::record::Life;
use super::share::share;
use super::view::View;
use crate::lease::{SILENCE, WINDOW};

/// What this member is about to do, or has, of one part. A part without a phase is none of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// An answer about it is awaited.
    Busy,
    /// It is owned.
    Held {
        /// The revision of its entry.
        revision: u64,
        /// Whether it was asked back.
        asked: Asked,
    },
}

/// Whether the owner of a part was told to give it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Not,
    Back,
}

/// This member, beside what the bucket says.
#[derive(Debug)]
pub(super) struct Own<'a> {
    /// Its id.
    pub(super) id: &'a str,
    /// Its ids before, and when the last of them was lost: this process knows that it sends nothing under them.
    pub(super) former: Option<&'a Former>,
    /// Whether it takes a share.
    pub(super) life: Life,
    /// What it does with the parts.
    pub(super) phases: &'a BTreeMap<u16, Phase>,
    /// Keys that could not be written, and until when they are left alone.
    pub(super) resting: &'a BTreeMap<String, Duration>,
}

/// The members that this process was before it lost its leases.
#[derive(Clone, Debug)]
pub(super) struct Former {
    /// What all their ids begin with.
    pub(super) prefix: String,
    /// When the last of them was lost, by the boot-time clock.
    pub(super) lost_at: Duration,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Write the own id into the part's entry if its revision is still this one; 0 if there is none.
    Take { part: u16, revision: u64 },
    /// The part was taken without this member's knowing, as the answer was lost, and is not wanted any more.
    PassOn { part: u16, revision: u64 },
    /// Ask the part back from who sends.
    GiveBack { part: u16 },
    /// The part is not the own any more.
    Lose { part: u16 },
    /// Declare a silent member dead.
    Declare { member: String, revision: u64 },
    /// Remove the entry of a dead member that owns nothing.
    Bury { member: String, revision: u64 },
}

/// What to do now, and when to look again if nothing happens until then.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) steps: Vec<Step>,
    pub(super) wake: Option<Duration>,
}

impl Plan {
    /// Whether `at` has come; if not, that is when to look again.
    fn due(&mut self, at: Duration, now: Duration) -> bool {
        if at <= now {
            return true;
        }
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
        false
    }
}

/// Decides. The same view and the same time give the same plan.
pub(super) fn plan(view: &View, own: &Own<'_>, now: Duration) -> Plan {
    let mut plan = Plan::default();
    let live = live(view, own);
    tell_the_dead(view, own, &live, now, &mut plan);

    let holders = view.parts.iter().filter(|(_, seen)| !seen.value.released);
    let holders = holders.filter_map(|(part, seen)| Some((*part, *live.get(seen.value.owner.as_str())?)));
    let shares = share(&live, &holders.collect());
    for part in 0..PARTS {
        let wanted = own.life == Life::Live && shares.get(&part).is_some_and(|owner| *owner == own.id);
        match own.phases.get(&part) {
            Some(Phase::Busy) => {}
            Some(Phase::Held { revision, .. }) if taken_away(view, own, part, *revision) => {
                plan.steps.push(Step::Lose { part });
            }
            Some(Phase::Held { asked, .. }) => {
                if !wanted && *asked == Asked::Not {
                    plan.steps.push(Step::GiveBack { part });
                }
            }
            None => not_held(view, own, part, wanted, now, &mut plan),
        }
    }
    plan
}

/// The members that take a share.
fn live<'a>(view: &'a View, own: &Own<'a>) -> BTreeSet<&'a str> {
    let others = view.members.iter().filter(|(id, seen)| *id != own.id && seen.value == Life::Live);
    let me = (own.life == Life::Live).then_some(own.id);
    others.map(|(id, _)| id.as_str()).chain(me).collect()
}

fn tell_the_dead(view: &View, own: &Own<'_>, live: &BTreeSet<&str>, now: Duration, plan: &mut Plan) {
    // One is enough to tidy up.
    let undertaker = live.first() == Some(&own.id);
    for (id, seen) in view.members.iter().filter(|(id, _)| *id != own.id) {
        if let Some(until) = own.resting.get(id)
            && !plan.due(*until, now)
        {
            continue;
        }
        let (member, revision) = (id.clone(), seen.revision);
        match seen.value {
            Life::Live | Life::Leaving => {
                let lost = own.former_lost(id).map(|lost_at| lost_at + WINDOW);
                let dead_at = lost.unwrap_or(Duration::MAX).min(seen.since + SILENCE);
                if plan.due(dead_at, now) {
                    plan.steps.push(Step::Declare { member, revision });
                }
            }
            Life::Dead if undertaker && !view.owns(id) => plan.steps.push(Step::Bury { member, revision }),
            Life::Dead => {}
        }
    }
}

/// Whether the entry of a part that is held does not say so any more. An entry older than the taking says nothing.
fn taken_away(view: &View, own: &Own<'_>, part: u16, revision: u64) -> bool {
    match view.parts.get(&part) {
        None => true,
        Some(seen) => seen.revision >= revision && (seen.value.released || seen.value.owner != own.id),
    }
}

fn not_held(view: &View, own: &Own<'_>, part: u16, wanted: bool, now: Duration, plan: &mut Plan) {
    if let Some(until) = own.resting.get(&super::record::part_key(view.group, part))
        && !plan.due(*until, now)
    {
        return;
    }
    let Some(seen) = view.parts.get(&part) else {
        let from = view.vacant_from.get(&part).copied().unwrap_or(Duration::MAX);
        if wanted && plan.due(from, now) {
            let revision = view.part_revision(part);
            plan.steps.push(Step::Take { part, revision });
        }
        return;
    };
    let revision = seen.revision;
    if !seen.value.released && seen.value.owner == own.id {
        // The answer to its taking was lost. What is seen may be old, so it is written again either way.
        plan.steps.push(if wanted { Step::Take { part, revision } } else { Step::PassOn { part, revision } });
        return;
    }
    if !wanted {
        return;
    }
    let free_from = if seen.value.released {
        // Who gives a part back with what it sent lately leaves nothing to wait for.
        Some(if seen.value.has_handover() { seen.since } else { seen.since + WINDOW })
    } else {
        free_from(view, own, &seen.value.owner)
    };
    if let Some(from) = free_from
        && plan.due(from, now)
    {
        plan.steps.push(Step::Take { part, revision });
    }
}

/// From when on what `owner` did not give back may be taken; `None` while it is its own.
fn free_from(view: &View, own: &Own<'_>, owner: &str) -> Option<Duration> {
    let lost = own.former_lost(owner).map(|lost_at| lost_at + WINDOW);
    let by_silence = match view.members.get(owner).map(|seen| seen.value) {
        // Whoever declared it has waited.
        Some(Life::Dead) => Some(Duration::ZERO),
        Some(Life::Live | Life::Leaving) => None,
        None => view.absent_since.get(owner).map(|since| *since + SILENCE),
    };
    match (lost, by_silence) {
        (Some(lost), Some(silent)) => Some(lost.min(silent)),
        (lost, silent) => lost.or(silent),
    }
}

impl Own<'_> {
    fn former_lost(&self, id: &str) -> Option<Duration> {
        let former = self.former.filter(|former| id.starts_with(&former.prefix))?;
        (id != self.id).then_some(former.lost_at)
    }
}

#[cfg(test)]
mod tests;
