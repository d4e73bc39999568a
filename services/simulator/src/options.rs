//! What the simulator is told: where to listen, which numbers exist, how Meta behaves today.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::{NonZeroU32, NonZeroUsize};

use serde::{Deserialize, Serialize};

/// What [`start`](crate::start) needs.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to listen; port 0 takes any free port.
    pub listen: SocketAddr,
    /// Decides every random choice. The same seed and the same requests in the same order give the same
    /// wamids, faults and shuffles, so a second run against the same database wants another seed.
    pub seed: u64,
    /// Where webhooks go for channels that name no target of their own.
    pub webhook: Option<WebhookTarget>,
    /// The business numbers known from the start; more can be registered while running.
    pub channels: Vec<SimChannel>,
    /// How all channels behave until told otherwise.
    pub behaviour: Behaviour,
    /// How many sends and inbound messages the report remembers one by one. Beyond it they are counted only.
    pub log_capacity: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            seed: 1,
            webhook: None,
            channels: Vec::new(),
            behaviour: Behaviour::default(),
            log_capacity: 2_000_000,
        }
    }
}

/// Where webhooks are posted, and the app secret that signs them.
#[derive(Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookTarget {
    /// The callback URL.
    pub url: String,
    /// The Meta app's secret: its ASCII bytes are the HMAC key.
    pub app_secret: String,
}

impl fmt::Debug for WebhookTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookTarget").field("url", &self.url).finish_non_exhaustive()
    }
}

/// One business phone number.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SimChannel {
    /// Its Graph id. Over HTTP it comes from the path.
    #[serde(default)]
    pub phone_number_id: String,
    /// The only token that may send from it.
    pub access_token: String,
    /// The number itself, digits only.
    pub display_phone_number: String,
    /// The WhatsApp Business Account it belongs to.
    pub waba_id: String,
    /// The name that `GET /<phone_number_id>` shows.
    #[serde(default = "default_verified_name")]
    pub verified_name: String,
    /// Messages a second, inbound and outbound together, in any sliding second.
    #[serde(default = "default_rate")]
    pub rate: NonZeroU32,
    /// Where its webhooks go, if not where everyone's go.
    #[serde(default)]
    pub webhook: Option<WebhookTarget>,
}

impl fmt::Debug for SimChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimChannel")
            .field("phone_number_id", &self.phone_number_id)
            .field("waba_id", &self.waba_id)
            .field("rate", &self.rate)
            .field("webhook", &self.webhook)
            .finish_non_exhaustive()
    }
}

/// Meta's default throughput of a number.
pub const DEFAULT_RATE: NonZeroU32 = NonZeroU32::new(80).expect("80 is not zero");

fn default_rate() -> NonZeroU32 {
    DEFAULT_RATE
}

fn default_verified_name() -> String {
    "Simulated Business".to_owned()
}

/// How Meta behaves: delays, disorder, limits, windows. Probabilities are between 0 and 1.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Behaviour {
    /// The statuses that follow an accepted send; none at all when empty.
    pub statuses: Vec<StatusKind>,
    /// Milliseconds from acceptance to each status.
    pub delays: Delays,
    /// How likely each webhook is to come a second time.
    pub duplicate: f64,
    /// Milliseconds between a webhook and its duplicate.
    pub duplicate_after_ms: u64,
    /// How likely the statuses of a send are to come in another order than they happened.
    pub reorder: f64,
    /// How likely `delivered` is to be left out, as when the user has the chat open.
    pub skip_delivered: f64,
    /// How likely `read` is to be left out, as when read receipts are off.
    pub skip_read: f64,
    /// The most updates that one POST carries.
    pub batch: NonZeroUsize,
    /// How long, in milliseconds, updates gather before they leave together. 0: they leave when due.
    pub batch_wait_ms: u64,
    /// The form of the JSON that is signed.
    pub signing: Signing,
    /// The 24 h customer service window.
    pub windows: Windows,
    /// The limit per business number and user; `null` turns it off.
    pub pair: Option<PairLimit>,
    /// What happens to a webhook that is not answered with 200.
    pub retry: WebhookRetry,
    /// How long files and their links live.
    pub media: MediaLife,
    /// Whether webhooks name users by business-scoped ids too.
    pub user_ids: UserIds,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            statuses: vec![StatusKind::Sent, StatusKind::Delivered, StatusKind::Read],
            delays: Delays::default(),
            duplicate: 0.0,
            duplicate_after_ms: 30,
            reorder: 0.0,
            skip_delivered: 0.0,
            skip_read: 0.0,
            batch: NonZeroUsize::MIN,
            batch_wait_ms: 0,
            signing: Signing::Escaped,
            windows: Windows::default(),
            pair: Some(PairLimit::default()),
            retry: WebhookRetry::default(),
            media: MediaLife::default(),
            user_ids: UserIds::Hidden,
        }
    }
}

/// Why an option was refused.
#[derive(Debug, thiserror::Error)]
pub enum InvalidOption {
    /// A probability outside 0 to 1.
    #[error("{name} is a probability: it must lie between 0 and 1")]
    Probability {
        /// The option's name.
        name: &'static str,
    },
    /// A text that must not be empty.
    #[error("{name} must not be empty")]
    Empty {
        /// The option's name.
        name: &'static str,
    },
    /// Not an `http` or `https` URL.
    #[error("webhook.url must be an http or https url")]
    WebhookUrl,
    /// A number with something other than digits.
    #[error("{name} must be digits only")]
    Digits {
        /// The option's name.
        name: &'static str,
    },
    /// A percentage above 100.
    #[error("{name} is a percentage: it must lie between 0 and 100")]
    Percent {
        /// The option's name.
        name: &'static str,
    },
    /// A name that no template can have.
    #[error("a template's name is up to 512 lower case letters, digits and underscores")]
    TemplateName,
}

impl Behaviour {
    /// Fails on a probability outside 0 to 1.
    pub fn check(&self) -> Result<(), InvalidOption> {
        check_probability("duplicate", self.duplicate)?;
        check_probability("reorder", self.reorder)?;
        check_probability("skip_delivered", self.skip_delivered)?;
        check_probability("skip_read", self.skip_read)
    }
}

impl SimChannel {
    /// Fails on a missing id, token or number, and on a webhook URL that can't be posted to.
    pub fn check(&self) -> Result<(), InvalidOption> {
        for (name, value) in [
            ("phone_number_id", &self.phone_number_id),
            ("access_token", &self.access_token),
            ("waba_id", &self.waba_id),
            ("display_phone_number", &self.display_phone_number),
        ] {
            if value.is_empty() {
                return Err(InvalidOption::Empty { name });
            }
        }
        if !self.display_phone_number.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(InvalidOption::Digits { name: "display_phone_number" });
        }
        self.webhook.as_ref().map_or(Ok(()), WebhookTarget::check)
    }
}

impl WebhookTarget {
    /// Fails on anything but an `http` or `https` URL, and on an empty secret.
    pub fn check(&self) -> Result<(), InvalidOption> {
        if self.app_secret.is_empty() {
            return Err(InvalidOption::Empty { name: "webhook.app_secret" });
        }
        match reqwest::Url::parse(&self.url) {
            Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(()),
            _ => Err(InvalidOption::WebhookUrl),
        }
    }
}

pub(crate) fn check_probability(name: &'static str, value: f64) -> Result<(), InvalidOption> {
    if (0.0..=1.0).contains(&value) { Ok(()) } else { Err(InvalidOption::Probability { name }) }
}

/// A status that follows by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StatusKind {
    /// On its way.
    Sent,
    /// On the user's phone.
    Delivered,
    /// Seen by the user.
    Read,
}

/// Milliseconds from acceptance to each status.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Delays {
    /// To `sent`, and to `failed` when the send fails later.
    pub sent_ms: u64,
    /// To `delivered`.
    pub delivered_ms: u64,
    /// To `read`.
    pub read_ms: u64,
}

impl Default for Delays {
    fn default() -> Self {
        Self { sent_ms: 20, delivered_ms: 60, read_ms: 120 }
    }
}

/// Whether webhooks name users by business-scoped ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UserIds {
    /// By phone number alone, and statuses carry no contact.
    Hidden,
    /// By both, in messages and in statuses, as Meta does since 2026.
    Shown,
}

/// The form of the signed JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Signing {
    /// ASCII only, as Meta sends it: `\/`, and `\u` escapes in lower case.
    Escaped,
    /// Plain UTF-8.
    Utf8,
}

/// The customer service window: free-form messages need a user's message in the last 24 h.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Windows {
    /// How a free-form message outside its window is refused.
    pub mode: WindowMode,
    /// What holds for a user who has never written.
    pub initially: WindowState,
    /// How long a user's message keeps the window open.
    pub length_ms: u64,
}

impl Default for Windows {
    fn default() -> Self {
        Self { mode: WindowMode::Sync, initially: WindowState::Open, length_ms: 24 * 60 * 60 * 1000 }
    }
}

/// How a closed window shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WindowMode {
    /// The send is refused with 131047.
    Sync,
    /// The send is accepted, then fails with 131047 in a status.
    Async,
    /// Windows do not matter.
    Off,
}

/// Whether a window is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WindowState {
    /// Free-form messages pass.
    Open,
    /// Only templates pass.
    Closed,
}

/// One message to a user each interval, with a credit for bursts.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PairLimit {
    /// How many messages may go to one user at once.
    pub burst: NonZeroU32,
    /// How long each of them takes to be earned back.
    pub interval_ms: u64,
}

impl Default for PairLimit {
    fn default() -> Self {
        Self { burst: const { NonZeroU32::new(45).expect("45 is not zero") }, interval_ms: 6_000 }
    }
}

/// Retries of a webhook: waits double from `base_ms` to `cap_ms`, until `give_up_ms` is over.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WebhookRetry {
    /// The first wait.
    pub base_ms: u64,
    /// The longest wait.
    pub cap_ms: u64,
    /// After this long since the first attempt the webhook counts as lost.
    pub give_up_ms: u64,
    /// How long one attempt may take.
    pub timeout_ms: u64,
}

impl Default for WebhookRetry {
    fn default() -> Self {
        Self { base_ms: 50, cap_ms: 2_000, give_up_ms: 300_000, timeout_ms: 10_000 }
    }
}

/// How long files and the links to them live, in milliseconds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MediaLife {
    /// A link that a lookup told.
    pub url_ms: u64,
    /// A file that the business uploaded.
    pub uploaded_ms: u64,
    /// A file that a user sent.
    pub received_ms: u64,
}

impl Default for MediaLife {
    fn default() -> Self {
        const DAY_MS: u64 = 24 * 60 * 60 * 1000;
        Self { url_ms: 5 * 60 * 1000, uploaded_ms: 30 * DAY_MS, received_ms: 7 * DAY_MS }
    }
}
