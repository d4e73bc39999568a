//! Takes up command files: each becomes a command on SEND, once, and is answered by a result file.

use std::collections::HashSet;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest;
use jiff::Timestamp;
use serde_json::{Value, json};
use staffetta_bus::{
    Bus, Encoding, Endpoint, PublishError, RegistryView, SendQueue, SendSubject, Spool, Target,
    WantedCommand, command_fields, take_channel,
};
use staffetta_domain::{ChannelId, CommandId, InvalidCommand};
use staffetta_runtime::crash::crash_point;
use staffetta_store::{NewCommand, Store};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::inbox::{AT_A_TIME, CommandFile, Content, Inbox, Verdict, Watch};

const LOOK_UP_TIME: Duration = Duration::from_secs(2);
const PUBLISH_TIME: Duration = Duration::from_secs(5);
const NOTE_TIME: Duration = Duration::from_secs(1);
/// How often what is long done with is removed.
const TIDY_TIME: Duration = Duration::from_secs(60 * 60);

/// Takes up the command files of one endpoint.
#[derive(Debug)]
pub(crate) struct Pickup {
    endpoint: Arc<Endpoint>,
    root: PathBuf,
    registry: RegistryView,
    store: Store,
    queue: SendQueue,
    watch: Watch,
    /// When the folders were last tidied.
    tidied: Option<Instant>,
    /// Whether the last look failed: the log says so once.
    fails: bool,
}

/// How a file ends.
enum End {
    /// Its command is queued, or was before.
    Taken(Value),
    /// It can't be one.
    Refused(InvalidCommand),
    /// It stays for the next look.
    Stays,
    /// It stays, and so does what comes after it in its lane.
    Full(SendSubject),
}

impl Pickup {
    /// For this entry of an endpoint of kind `spool`; `None` if it is of another kind.
    pub(crate) fn new(
        endpoint: Arc<Endpoint>,
        root: PathBuf,
        bus: Bus,
        registry: RegistryView,
        store: Store,
    ) -> Option<Self> {
        matches!(endpoint.target, Target::Spool(_)).then(|| Self {
            endpoint,
            root,
            registry,
            store,
            queue: SendQueue::new(bus),
            watch: Watch::default(),
            tidied: None,
            fails: false,
        })
    }

    fn spool(&self) -> Option<&Spool> {
        match &self.endpoint.target {
            Target::Spool(spool) => Some(spool),
            _ => None,
        }
    }

    /// Takes up command files until `stop`. The file that it is at is done first. Two at a time on one folder do no
    /// harm.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let interval = self.spool().map_or(Duration::from_secs(1), |spool| spool.check_interval);
        while !stop.is_cancelled() {
            let looked = self.look(&stop).await;
            if let Err(error) = &looked
                && !self.fails
            {
                warn!(endpoint = %self.endpoint.id, kind = %error.kind(), "the spool folder can't be used");
            }
            self.fails = looked.is_err();
            // Many files at once don't wait for one another's interval.
            if looked.is_ok_and(|taken| taken >= AT_A_TIME) {
                continue;
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = sleep(interval) => {}
            }
        }
    }

    /// Takes up what is there now, in the order of names, and says how many files it was.
    async fn look(&mut self, stop: &CancellationToken) -> io::Result<usize> {
        let Some(spool) = self.spool() else { return Ok(0) };
        let (root, path) = (self.root.clone(), spool.path.clone());
        let tidy = self.tidied.is_none_or(|tidied| tidied.elapsed() >= TIDY_TIME);
        let listed = blocking(move || {
            let inbox = Inbox::open(&root, &path)?;
            if tidy {
                inbox.tidy(SystemTime::now())?;
            }
            inbox.list().map(|files| (inbox, files))
        });
        // A file server that hangs holds up no stop.
        let (inbox, files) = tokio::select! {
            () = stop.cancelled() => return Ok(0),
            listed = listed => listed?,
        };
        if tidy {
            self.tidied = Some(Instant::now());
        }
        let files = self.watch.ready(files, SystemTime::now(), std::time::Instant::now());
        let mut full = HashSet::new();
        let mut taken = 0;
        for file in files {
            if stop.is_cancelled() {
                break;
            }
            taken += usize::from(self.take(&inbox, file, &mut full).await?);
        }
        Ok(taken)
    }

    /// Deals with one file; false if it stays.
    async fn take(
        &self,
        inbox: &Inbox,
        file: CommandFile,
        full: &mut HashSet<SendSubject>,
    ) -> io::Result<bool> {
        let (reader, read) = (inbox.clone(), file.clone());
        let end = match blocking(move || reader.read(&read)).await? {
            Content::Gone | Content::Growing => End::Stays,
            Content::Wrong(why) => End::Refused(InvalidCommand::new("file", why)),
            Content::Whole(content) => self.send(&file, &content, full).await,
        };
        let at = Timestamp::now().to_string();
        let (verdict, result) = match end {
            End::Stays => return Ok(false),
            End::Full(lane) => {
                full.insert(lane);
                return Ok(false);
            }
            End::Taken(mut result) => {
                result["at"] = at.into();
                (Verdict::Done, result)
            }
            End::Refused(InvalidCommand { field, problem }) => {
                (Verdict::Bad, json!({ "state": "refused", "field": field, "problem": problem, "at": at }))
            }
        };
        debug!(endpoint = %self.endpoint.id, ?verdict, "a command file was dealt with");
        let inbox = inbox.clone();
        blocking(move || inbox.finish(&file.name, verdict, result.to_string().as_bytes())).await?;
        Ok(true)
    }

    /// Puts what stands in a file on SEND, as `POST /v1/messages` would.
    async fn send(&self, file: &CommandFile, content: &[u8], full: &HashSet<SendSubject>) -> End {
        let wanted = match self.wanted(file, content) {
            Ok(wanted) => wanted,
            Err(invalid) => return End::Refused(invalid),
        };
        let WantedCommand { command, payload } = wanted;
        let lane = SendSubject { tenant: command.tenant, channel: command.channel, lane: command.lane };
        if full.contains(&lane) {
            return End::Stays;
        }
        let known = timeout(LOOK_UP_TIME, self.store.command(&lane.tenant, &command.id)).await;
        match known {
            Ok(Ok(Some(known))) => return End::Taken(taken(&known.id, &known.channel, known.state.as_str())),
            Ok(Ok(None)) => {}
            // Whether it was sent before can't be told, and order forbids to go on with the next.
            Ok(Err(_)) | Err(_) => return End::Full(lane),
        }
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("Content-Type", Encoding::Protobuf.content_type());
        let put = self.queue.put(&lane, &command.id, headers, payload, Instant::now() + PUBLISH_TIME).await;
        match put {
            Ok(()) => {}
            Err(PublishError::TooLarge) => {
                return End::Refused(InvalidCommand::new("file", "is larger than the queue takes"));
            }
            Err(error) => {
                warn!(endpoint = %self.endpoint.id, %error, "command files wait for the queue");
                return End::Full(lane);
            }
        }
        crash_point("delivery.spool-published");
        let SendSubject { tenant, channel, lane } = lane;
        let result = taken(&command.id, &channel, "queued");
        let at = now_to_the_microsecond();
        let user = command.to.key().to_owned();
        let callback_data = command.callback_data;
        let new = NewCommand { tenant, channel, id: command.id, lane, user, callback_data, at };
        // The queue has it already: without this it is only known a little later.
        if !matches!(timeout(NOTE_TIME, self.store.enqueue(std::slice::from_ref(&new))).await, Ok(Ok(()))) {
            warn!(tenant = %new.tenant, command = %new.id, "a queued command could not be noted");
        }
        End::Taken(result)
    }

    fn wanted(&self, file: &CommandFile, content: &[u8]) -> Result<WantedCommand, InvalidCommand> {
        let tenant = &self.endpoint.tenant.id;
        let mut fields = command_fields(Encoding::Json, content)?;
        let own = self.spool().and_then(|spool| spool.channel.clone());
        let channel = take_channel(&mut fields)?.or(own);
        let channel = channel.ok_or_else(|| InvalidCommand::new("channel", "is missing"))?;
        let registry = self.registry.load();
        if registry.channel(&channel).is_none_or(|channel| channel.tenant.id != *tenant) {
            return Err(InvalidCommand::new("channel", "none of your channels has this id"));
        }
        let id = || id_of(&self.endpoint, file, content);
        WantedCommand::of(fields, tenant, &channel, now_to_the_microsecond(), id)
    }
}

/// The id of a command that names none: the same as long as the file is the same, whatever crashes in between, and
/// another one if the same words are put there again another time.
fn id_of(endpoint: &Endpoint, file: &CommandFile, content: &[u8]) -> CommandId {
    let written = file.modified.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
    let name = hex::encode(file.name.as_bytes());
    let content = hex::encode(digest::digest(&digest::SHA256, content));
    CommandId::made_up(&["spool", endpoint.id.as_str(), &name, &written.to_string(), &content])
}

fn taken(id: &CommandId, channel: &ChannelId, state: &str) -> Value {
    json!({ "id": id.as_str(), "channel": channel.as_str(), "state": state })
}

/// The database keeps no more.
fn now_to_the_microsecond() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
}

/// Runs what waits for a disk where waiting is allowed.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    spawn_blocking(work).await.unwrap_or_else(|_| Err(io::Error::other("the work on the folder died")))
}
