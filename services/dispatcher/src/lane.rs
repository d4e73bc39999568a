//! One lane of one channel in memory: what was read from the queue, in order per recipient.
//!
//! Each recipient has a queue of its own, with at most one command on its way. A command that has to wait holds back
//! its own recipient and nobody else. So that those who wait do not fill the memory either, of most of what waits
//! only the numbers are kept: the commands are *set aside*, and read once more, singly, when their turn comes.

mod recipient;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
mod times;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use staffetta_bus::QueuedMessage;
use staffetta_domain::Command;

use recipient::{Head, Place, Recipient, Standing};
use times::Times;

/// A command that was read and is not settled.
#[derive(Clone, Debug)]
pub(crate) struct Queued {
    /// How it stands in the queue.
    pub(crate) message: QueuedMessage,
    /// What to send.
    pub(crate) command: Command,
}

impl Queued {
    /// Its number in the stream.
    pub(crate) fn sequence(&self) -> u64 {
        self.message.sequence
    }

    fn user(&self) -> &str {
        self.command.to.key()
    }

    fn bytes(&self) -> usize {
        self.message.payload.len()
    }
}

/// One lane.
pub(crate) struct LaneState {
    /// The number to read from next.
    pub(crate) cursor: u64,
    /// Whether the queue may hold commands that were not read.
    more: bool,
    bounds: Bounds,
    recipients: HashMap<Arc<str>, Recipient>,
    /// Heads that may go now, the oldest first.
    ready: BTreeMap<u64, Arc<str>>,
    /// Heads that wait for a moment.
    parked: BTreeMap<(Duration, u64), Arc<str>>,
    /// Those of them that can be set aside, with all that stands behind them.
    loaded: BTreeMap<(Duration, u64), Arc<str>>,
    /// The first number of each recipient whose command is not in memory.
    away: BTreeMap<u64, Arc<str>>,
    /// Those of them whose recipient should have more in memory.
    hungry: BTreeMap<u64, Arc<str>>,
    /// Numbers that are being read singly.
    asked: HashMap<u64, Arc<str>>,
    /// What is in memory and not settled, here or with whoever sends and settles it.
    open: BTreeSet<u64>,
    /// What is settled, stands in the queue, and is not below the floor.
    islands: BTreeSet<u64>,
    totals: Totals,
    purged: u64,
    times: Times,
    /// How many have gone from the queue, or may go, since this was made.
    gone: u64,
}

/// How much of one lane is kept.
#[derive(Clone, Copy)]
struct Bounds {
    /// Most commands in memory.
    commands: usize,
    /// Most bytes of commands that are not sent, but for what one read brings.
    bytes: usize,
    /// Most commands of one recipient in memory.
    of_one: usize,
    /// Most numbers of commands that are set aside, and most of settled ones that stand in the queue. Each costs some
    /// ten bytes; a recipient all of whose commands are set aside, some three hundred.
    numbers: usize,
}

/// What all recipients have together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Totals {
    bytes: usize,
    /// Commands that are set aside.
    aside: usize,
    /// Commands in memory that wait for a moment, or stand behind one that does.
    waiting: usize,
    waiting_bytes: usize,
}

impl LaneState {
    /// A lane of which nothing was read, and that may hold something. Keeps at most 1,000 commands and 8 MiB of them
    /// in memory, 32 of one recipient, and the numbers of 100,000 that are set aside.
    pub(crate) fn new() -> Self {
        Self::within(Bounds { commands: 1_000, bytes: 8 << 20, of_one: 32, numbers: 100_000 })
    }

    fn within(bounds: Bounds) -> Self {
        Self {
            cursor: 1,
            more: true,
            bounds,
            recipients: HashMap::new(),
            ready: BTreeMap::new(),
            parked: BTreeMap::new(),
            loaded: BTreeMap::new(),
            away: BTreeMap::new(),
            hungry: BTreeMap::new(),
            asked: HashMap::new(),
            open: BTreeSet::new(),
            islands: BTreeSet::new(),
            totals: Totals::default(),
            purged: 0,
            times: Times::default(),
            gone: 0,
        }
    }

    /// How many commands may be read now. None while as many as may be are set aside.
    pub(crate) fn room(&self) -> usize {
        let Bounds { numbers, .. } = self.bounds;
        let (aside, islands) = (self.totals.aside, self.islands.len());
        self.memory().min(numbers.saturating_sub(aside)).min(numbers.saturating_sub(islands))
    }

    fn memory(&self) -> usize {
        let taken = self.open.len() + self.asked.len();
        if self.totals.bytes >= self.bounds.bytes { 0 } else { self.bounds.commands.saturating_sub(taken) }
    }

    /// Whether the queue may hold commands that nobody has asked for.
    pub(crate) fn has_more(&self) -> bool {
        self.more
    }

    /// The queue is being asked. What [`holds_more`](Self::holds_more) says from here on, whether the answer or a
    /// wake-up before it, counts for after the answer: a command may have been stored while it was on its way.
    pub(crate) fn asked(&mut self) {
        self.more = false;
    }

    /// The queue may hold more.
    pub(crate) fn holds_more(&mut self) {
        self.more = true;
    }

    /// Notes that a command was read. It stays open until [`settled`](Self::settled).
    pub(crate) fn read(&mut self, sequence: u64) {
        self.open.insert(sequence);
        self.cursor = self.cursor.max(sequence.saturating_add(1));
    }

    /// Notes when a command that was read was stored.
    pub(crate) fn stored(&mut self, sequence: u64, at: Timestamp) {
        self.times.note(sequence, at);
    }

    /// How many were read and are not settled.
    pub(crate) fn known(&self) -> u64 {
        (self.open.len() + self.totals.aside) as u64
    }

    /// How many have gone from the queue, or may go, since the lane was made.
    pub(crate) fn gone(&self) -> u64 {
        self.gone
    }

    /// When the oldest of those that were read and are not settled was stored, to the second.
    pub(crate) fn oldest(&self) -> Option<Timestamp> {
        if self.known() == 0 { None } else { self.times.of(self.bottom()) }
    }

    /// Puts a command that was read behind the others of its recipient; sets it aside where there are many.
    pub(crate) fn push(&mut self, queued: Queued) {
        let (sequence, most) = (queued.sequence(), self.bounds.of_one);
        let user = self.user(queued.user());
        if self.change(&user, |recipient| recipient.push(queued, most)) == Some(Place::Aside) {
            self.open.remove(&sequence);
        }
        self.relieve();
    }

    fn user(&mut self, user: &str) -> Arc<str> {
        if let Some((user, _)) = self.recipients.get_key_value(user) {
            return Arc::clone(user);
        }
        let user = Arc::<str>::from(user);
        self.recipients.insert(Arc::clone(&user), Recipient::default());
        user
    }

    /// The oldest head that may go. It stays the head of its recipient until [`done`](Self::done), and comes back
    /// after [`park`](Self::park) or [`again`](Self::again).
    pub(crate) fn take(&mut self) -> Option<Queued> {
        let user = Arc::clone(self.ready.first_key_value()?.1);
        self.change(&user, Recipient::take).flatten()
    }

    /// Whether any head may go.
    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// The head is through, one way or the other: the next of its recipient may go.
    pub(crate) fn done(&mut self, queued: &Queued) {
        let sequence = queued.sequence();
        let stood = self.change(queued.user(), |recipient| recipient.done(sequence));
        if stood.flatten() == Some(Place::Aside) {
            self.asked.remove(&sequence);
            self.open.insert(sequence);
        }
    }

    /// The head may go again.
    pub(crate) fn again(&mut self, queued: &Queued) {
        let sequence = queued.sequence();
        self.change(queued.user(), |recipient| recipient.head_is(Head::Free, sequence));
    }

    /// The head may go again at `until`; at [`Duration::MAX`] only after [`again`](Self::again) or another `park`. It
    /// may be set aside meanwhile, and is then read once more before it goes. One that is through after all is
    /// [`done`](Self::done) as any.
    pub(crate) fn park(&mut self, queued: &Queued, until: Duration) {
        let sequence = queued.sequence();
        self.change(queued.user(), |recipient| recipient.head_is(Head::Waits(until), sequence));
        self.relieve();
    }

    /// Lets the heads go whose moment has come, and tells when the next one's comes.
    pub(crate) fn wake(&mut self, now: Duration) -> Option<Duration> {
        loop {
            let ((until, sequence), user) = self.parked.first_key_value()?;
            if *until > now {
                return (*until < Duration::MAX).then_some(*until);
            }
            let (sequence, user) = (*sequence, Arc::clone(user));
            self.change(&user, |recipient| recipient.head_is(Head::Free, sequence));
        }
    }

    /// Numbers of commands that were set aside and are to be read singly now, the oldest first, at most `most` and
    /// none while the memory is full. Each is told once until [`returned`](Self::returned),
    /// [`missing`](Self::missing), [`rejected`](Self::rejected) or [`unread`](Self::unread) answers it.
    pub(crate) fn wanted(&mut self, most: usize) -> Vec<u64> {
        let most = most.min(self.memory());
        let mut wanted = Vec::new();
        while wanted.len() < most
            && let Some((_, user)) = self.hungry.first_key_value()
        {
            let (user, left) = (Arc::clone(user), most - wanted.len());
            let asked = self.change(&user, |recipient| recipient.ask(left)).unwrap_or_default();
            self.asked.extend(asked.iter().map(|sequence| (*sequence, Arc::clone(&user))));
            wanted.extend(asked);
        }
        wanted
    }

    /// A command that was set aside is back: it goes when those before it have gone.
    pub(crate) fn returned(&mut self, queued: Queued) {
        let sequence = queued.sequence();
        let Some(user) = self.asked.remove(&sequence) else { return };
        if let Some(true) = self.change(&user, |recipient| recipient.returned(queued)) {
            self.open.insert(sequence);
        }
        self.relieve();
    }

    /// A command that was set aside is not in the queue any more: somebody else has settled it.
    pub(crate) fn missing(&mut self, sequence: u64) {
        let Some(user) = self.asked.remove(&sequence) else { return };
        self.change(&user, |recipient| recipient.lose(sequence));
        self.gone += 1;
        self.forget_islands();
    }

    /// A command that was set aside is back and can't be sent: its recipient does not wait for it. It stays open until
    /// [`settled`](Self::settled).
    pub(crate) fn rejected(&mut self, sequence: u64) {
        let Some(user) = self.asked.remove(&sequence) else { return };
        self.open.insert(sequence);
        self.change(&user, |recipient| recipient.lose(sequence));
    }

    /// These could not be read: they are wanted again.
    pub(crate) fn unread(&mut self, sequences: &[u64]) {
        for sequence in sequences {
            let Some(user) = self.asked.remove(sequence) else { continue };
            self.change(&user, |recipient| recipient.unread(*sequence));
        }
    }

    /// The command need not stay in the queue any more.
    pub(crate) fn settled(&mut self, sequence: u64) {
        if self.open.remove(&sequence) {
            self.islands.insert(sequence);
            self.gone += 1;
            self.forget_islands();
        }
    }

    /// Below this number everything is settled; `None` if that was purged already.
    pub(crate) fn floor(&self) -> Option<u64> {
        let floor = self.bottom();
        (floor > self.purged.max(1)).then_some(floor)
    }

    fn bottom(&self) -> u64 {
        let away = self.away.first_key_value().map(|(sequence, _)| *sequence);
        let open = self.open.first().copied();
        open.into_iter().chain(away).min().unwrap_or(self.cursor)
    }

    /// Notes that the queue was purged below `floor`.
    pub(crate) fn purged(&mut self, floor: u64) {
        self.purged = self.purged.max(floor);
    }

    /// How many settled commands stand in the queue above the floor, where no purge takes them away.
    #[cfg(test)]
    fn island_count(&self) -> usize {
        self.islands.len()
    }

    /// The numbers of the oldest of them, at most `most`.
    pub(crate) fn islands(&self, most: usize) -> Vec<u64> {
        self.islands.iter().copied().take(most).collect()
    }

    /// Notes that these are not in the queue any more.
    pub(crate) fn deleted(&mut self, sequences: &[u64]) {
        for sequence in sequences {
            self.islands.remove(sequence);
        }
    }

    /// What the floor has passed is purged with all the rest below it.
    fn forget_islands(&mut self) {
        let bottom = self.bottom();
        while self.islands.first().is_some_and(|island| *island < bottom) {
            self.islands.pop_first();
        }
        self.times.forget_below(bottom);
    }

    /// Sets aside those that wait longest, so that all that wait have no more than a quarter of the memory: the rest
    /// is for those that can go. What is being read may have to be set aside as well, and still fits.
    fn relieve(&mut self) {
        let Bounds { commands, bytes, numbers, .. } = self.bounds;
        while (self.totals.waiting > commands / 4 || self.totals.waiting_bytes > bytes / 4)
            && self.totals.aside + commands <= numbers
            && let Some((_, user)) = self.loaded.last_key_value()
        {
            let user = Arc::clone(user);
            for sequence in self.change(&user, Recipient::set_aside).unwrap_or_default() {
                self.open.remove(&sequence);
            }
        }
    }

    /// Changes a recipient, and what is known of all of them with it.
    fn change<T>(&mut self, user: &str, change: impl FnOnce(&mut Recipient) -> T) -> Option<T> {
        let (user, _) = self.recipients.get_key_value(user)?;
        let user = Arc::clone(user);
        let recipient = self.recipients.get_mut(&user)?;
        let before = recipient.standing();
        let result = change(recipient);
        let after = recipient.standing();
        if recipient.is_empty() {
            self.recipients.remove(&user);
        }
        self.moved(&user, &before, &after);
        Some(result)
    }

    fn moved(&mut self, user: &Arc<str>, before: &Standing, after: &Standing) {
        replace(&mut self.ready, user, before.ready, after.ready);
        replace(&mut self.parked, user, before.parked, after.parked);
        replace(&mut self.loaded, user, before.loaded, after.loaded);
        replace(&mut self.away, user, before.away, after.away);
        replace(&mut self.hungry, user, before.hungry, after.hungry);
        let (all, before, after) = (&mut self.totals, before.totals, after.totals);
        all.bytes = all.bytes + after.bytes - before.bytes;
        all.aside = all.aside + after.aside - before.aside;
        all.waiting = all.waiting + after.waiting - before.waiting;
        all.waiting_bytes = all.waiting_bytes + after.waiting_bytes - before.waiting_bytes;
    }
}

fn replace<K: Ord>(index: &mut BTreeMap<K, Arc<str>>, user: &Arc<str>, before: Option<K>, after: Option<K>) {
    if before == after {
        return;
    }
    if let Some(key) = before {
        index.remove(&key);
    }
    if let Some(key) = after {
        index.insert(key, Arc::clone(user));
    }
}
