//! NATS as Staffetta uses it: subjects, streams, acknowledged publishing, the registry, leases and the SEND queue.
//!
//! Nothing outside this crate knows a stream's name or a header's.

mod answers;
mod callout;
mod codec;
mod connection;
mod dead;
mod events;
mod inspect;
mod lease;
mod metrics;
mod ownership;
mod publish;
mod put;
mod queue;
mod receipts;
mod registry;
mod secret;
mod streams;
mod subjects;
mod together;
mod told;
mod wanted;

pub use answers::{REPLY_TO, ReplyTo, inbox_prefix};
pub use callout::{Callout, CalloutKeys, CalloutOutcome, WrongSeed};
pub use codec::{
    CodecError, DeadLetter, Encoding, Origin, TRACEPARENT, command_fields, dead_letter_message,
    decode_dead_letter, decode_event, encode_command, event_message, trace_of,
};
pub use connection::{Bus, ClientCertificate, ConnectError, Credentials, Tls};
pub use dead::{
    DeadError, DeadStream, Letter, LetterFilter, LetterId, LetterPage, NotReplayable, ServiceName,
    ShownPayload, WayBack, replay_of,
};
pub use events::{EventBatch, EventEnds, EventLog, EventWake, LoggedEvent};
pub use inspect::{ClockReading, ConsumerState, Mismatch, STREAMS, StreamState};
pub use lease::{Lease, boot_time};
pub use ownership::{Change as OwnershipChange, Group, Ownership, PARTS, PartOwners, Returned, part_of};
pub use publish::{PublishError, Stored};
pub use queue::{Batch, LaneBacklog, QueueError, QueuedMessage, SendQueue, Wake};
pub use receipts::{NotFollowed, Receipt};
pub use registry::{
    ApiKeyEntry, App, AppEntry, Change, Changed, Channel, ChannelEntry, DoubtPolicy, Endpoint, EndpointEntry,
    EndpointFormat, EndpointKind, Entry, FieldChange, Key, NumberClaim, Place, Plan, Provider, Registry,
    RegistryError, RegistryFile, RegistryStore, RegistryView, Rotation, Scope, Secrets, Spool, Target,
    Tenant, TenantEntry, Unnamed, Webhook, WindowTemplate, to_toml,
};
pub use secret::{Marker, MasterKey, Secret, SecretError, SecretLiteral};
pub use streams::{Retention, StreamError, WebhookProgress};
pub use subjects::{
    SendSubject, dead_subject, event_subject, nats_consumer_endpoint, nats_endpoint_consumer, webhook_subject,
};
pub use together::{MOST_TOGETHER, NotTogether, Outgoing};
pub use told::{Told, ToldOf};
pub use wanted::{WantedCommand, take_channel};
