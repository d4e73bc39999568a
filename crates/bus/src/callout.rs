//! Tenants that connect to NATS themselves: the server asks who they are, and is told what they may do.
//!
//! Whoever shows a tenant's API key gets that tenant's own subjects and nothing else. A new tenant, or a new key, needs
//! no change of the server: each connect asks the registry as it is.

mod jwt;
mod rights;

use std::sync::Arc;
use std::time::Duration;

use async_nats::{HeaderMap, Message};
use bytes::Bytes;
use futures_util::StreamExt;
use jiff::Timestamp;
use nkeys::{KeyPair, KeyPairType, XKey};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use self::rights::Rights;
use crate::Bus;
use crate::queue::QueueError;
use crate::registry::{Key, Registry, RegistryView};

/// Where the server asks.
const ASKED: &str = "$SYS.REQ.USER.AUTH";
/// All who answer share the questions.
const GROUP: &str = "staffetta-callout";
/// The server's curve key, where it seals what it asks.
const SERVER_KEY: &str = "Nats-Server-Xkey";
/// Questions that are answered at a time.
const AT_A_TIME: usize = 64;
/// Longest wait until the connection takes an answer: the server waits about two seconds.
const TAKEN: Duration = Duration::from_secs(2);

/// A seed that is not of its kind. Does not show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key} {problem}")]
pub struct WrongSeed {
    key: &'static str,
    problem: &'static str,
}

/// What became of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CalloutOutcome {
    /// The connection is a tenant's.
    Allowed,
    /// It shows no key that opens anything.
    Refused,
    /// It was not the server that asked.
    Invalid,
}

/// Answers the server's questions.
pub struct Callout {
    bus: Bus,
    registry: RegistryView,
    keys: Arc<Keys>,
}

impl std::fmt::Debug for Callout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Callout").finish_non_exhaustive()
    }
}

struct Keys {
    issuer: KeyPair,
    curve: Option<XKey>,
    account: String,
}

/// The claims of a question.
#[derive(Deserialize)]
struct Question {
    aud: String,
    nats: Asked,
}

#[derive(Deserialize)]
struct Asked {
    server_id: Server,
    user_nkey: String,
    #[serde(default)]
    connect_opts: Shown,
}

#[derive(Deserialize)]
struct Server {
    id: String,
}

/// What the connection shows.
#[derive(Default, Deserialize)]
struct Shown {
    #[serde(default)]
    auth_token: String,
    #[serde(default)]
    user: String,
    #[serde(default)]
    pass: String,
}

impl Callout {
    /// Prepares to answer. `issuer_seed` (`SA…`) belongs to the server's `auth_callout.issuer`, `xkey_seed` (`SX…`) to its
    /// `auth_callout.xkey`; tenants are put into `account`.
    ///
    /// # Errors
    /// Names the seed that is not of its kind.
    pub fn new(
        bus: Bus,
        registry: RegistryView,
        issuer_seed: &SecretString,
        xkey_seed: Option<&SecretString>,
        account: &str,
    ) -> Result<Self, WrongSeed> {
        let issuer = KeyPair::from_seed(issuer_seed.expose_secret().trim());
        let issuer = issuer.ok().filter(|key| matches!(key.key_pair_type(), KeyPairType::Account));
        let key = "nats.callout.issuer_seed";
        let issuer = issuer.ok_or(WrongSeed { key, problem: "must be the seed of an account key: SA…" })?;
        let curve = match xkey_seed {
            None => None,
            Some(seed) => {
                let (key, problem) = ("nats.callout.xkey_seed", "must be the seed of a curve key: SX…");
                let curve = XKey::from_seed(seed.expose_secret().trim());
                Some(curve.map_err(|_| WrongSeed { key, problem })?)
            }
        };
        let keys = Arc::new(Keys { issuer, curve, account: account.to_owned() });
        Ok(Self { bus, registry, keys })
    }

    /// Answers until `stop`; `count` is told what became of each question.
    ///
    /// # Errors
    /// If the subscription can't be made, or ends.
    pub async fn run(
        self,
        count: impl Fn(CalloutOutcome) + Clone + Send + 'static,
        stop: CancellationToken,
    ) -> Result<(), QueueError> {
        let followed = |error: async_nats::Error| QueueError::new("followed", error);
        let questions = self.bus.client().queue_subscribe(ASKED, GROUP.into()).await;
        let mut questions = questions.map_err(|error| followed(error.into()))?;
        info!("tenants may connect to NATS");
        let room = Arc::new(Semaphore::new(AT_A_TIME));
        let mut answering = JoinSet::new();
        loop {
            let asked = tokio::select! {
                () = stop.cancelled() => break,
                Some(_) = answering.join_next() => continue,
                asked = questions.next() => asked.ok_or_else(|| followed("the questions ended".into()))?,
            };
            let Ok(permit) = Arc::clone(&room).acquire_owned().await else { break };
            let (bus, registry, keys) = (self.bus.clone(), self.registry.load(), Arc::clone(&self.keys));
            let count = count.clone();
            answering.spawn(async move {
                let _permit = permit;
                let outcome = answer(&bus, &registry, &keys, asked).await;
                count(outcome);
            });
        }
        // Whoever is being answered gets its answer.
        while answering.join_next().await.is_some() {}
        Ok(())
    }
}

async fn answer(bus: &Bus, registry: &Registry, keys: &Keys, asked: Message) -> CalloutOutcome {
    let Some(reply) = asked.reply.clone() else { return CalloutOutcome::Invalid };
    let (question, server) = match read(keys, asked.headers.as_ref(), &asked.payload) {
        Ok(read) => read,
        Err(problem) => {
            warn!(problem, "a question about a connection is not the server's");
            return CalloutOutcome::Invalid;
        }
    };
    let now = Timestamp::now();
    let key = shown_key(registry, &question.nats.connect_opts, now);
    let outcome = if key.is_some() { CalloutOutcome::Allowed } else { CalloutOutcome::Refused };
    match &key {
        Some(key) => debug!(tenant = %key.tenant.id, key = key.id, "a tenant connects to NATS"),
        None => debug!("a connection to NATS shows no key that is known"),
    }
    let response = response(registry, keys, &question, key.as_deref(), now);
    let sealed = response.and_then(|response| match (&server, &keys.curve) {
        (Some(server), Some(curve)) => curve.seal(response.as_bytes(), server),
        _ => Ok(response.into_bytes()),
    });
    match sealed {
        Ok(payload) => {
            let sending = bus.client().publish(reply, Bytes::from(payload));
            if !matches!(timeout(TAKEN, sending).await, Ok(Ok(()))) {
                warn!("the server's question about a connection could not be answered");
            }
            outcome
        }
        Err(_) => CalloutOutcome::Invalid,
    }
}

/// The question, and the curve key of the server that sealed it.
fn read(
    keys: &Keys,
    headers: Option<&HeaderMap>,
    payload: &[u8],
) -> Result<(Question, Option<XKey>), &'static str> {
    let server = headers.and_then(|headers| headers.get(SERVER_KEY));
    let server = server.map(|key| XKey::from_public_key(key.as_str()).map_err(|_| "its curve key is none"));
    let server = server.transpose()?;
    let token = match (&keys.curve, &server) {
        (Some(curve), Some(server)) => {
            curve.open(payload, server).map_err(|_| "it is not sealed for this service")?
        }
        (Some(_), None) => return Err("it is not sealed"),
        (None, _) => payload.to_vec(),
    };
    let question: Question = jwt::verified(&token, 'N').map_err(|_| "it is not signed by a server")?;
    if question.aud == "nats-authorization-request" {
        Ok((question, server))
    } else {
        Err("it asks something else")
    }
}

/// The key that the connection shows: as its token, or as its password. Who names a user must name the key's tenant.
fn shown_key(registry: &Registry, shown: &Shown, now: Timestamp) -> Option<Arc<Key>> {
    let text = if shown.auth_token.is_empty() { &shown.pass } else { &shown.auth_token };
    let key = registry.key(text).filter(|key| !text.is_empty() && !key.has_expired(now))?;
    let named = shown.user.is_empty() || shown.user == key.tenant.id.as_str();
    named.then(|| Arc::clone(key))
}

/// The answer: a user of the streams' account, or no.
fn response(
    registry: &Registry,
    keys: &Keys,
    question: &Question,
    key: Option<&Key>,
    now: Timestamp,
) -> Result<String, nkeys::error::Error> {
    let Asked { server_id, user_nkey, .. } = &question.nats;
    let mut claims = serde_json::Map::new();
    match key {
        Some(key) => claims.insert("jwt".into(), user(registry, keys, user_nkey, key, now)?.into()),
        // The same for every reason: nobody learns which tenants there are.
        None => claims.insert("error".into(), "no API key that is known".into()),
    };
    claims.insert("type".into(), "authorization_response".into());
    claims.insert("version".into(), 2.into());
    let claims = json!({
        "iat": now.as_second(),
        "iss": keys.issuer.public_key(),
        "jti": uuid::Uuid::now_v7().simple().to_string(),
        "sub": user_nkey,
        "aud": server_id.id,
        "nats": Value::Object(claims),
    });
    jwt::signed(&claims, &keys.issuer)
}

fn user(
    registry: &Registry,
    keys: &Keys,
    user_nkey: &str,
    key: &Key,
    now: Timestamp,
) -> Result<String, nkeys::error::Error> {
    let claims = json!({
        "iat": now.as_second(),
        "exp": rights::ends(key, now).as_second(),
        "iss": keys.issuer.public_key(),
        "jti": uuid::Uuid::now_v7().simple().to_string(),
        "sub": user_nkey,
        "name": format!("{}/{}", key.tenant.id, key.id),
        "aud": keys.account,
        "nats": Rights::of(registry, key),
    });
    jwt::signed(&claims, &keys.issuer)
}

/// Fresh keys for a server and for those who answer it.
#[derive(Debug)]
pub struct CalloutKeys {
    /// For the server: `auth_callout.issuer`.
    pub issuer: String,
    /// For Staffetta: `nats.callout.issuer_seed`.
    pub issuer_seed: SecretString,
    /// For the server: `auth_callout.xkey`.
    pub xkey: String,
    /// For Staffetta: `nats.callout.xkey_seed`.
    pub xkey_seed: SecretString,
}

impl CalloutKeys {
    /// A new pair of each.
    ///
    /// # Errors
    /// If the keys can't be written down, which nothing outside can cause.
    pub fn fresh() -> Result<Self, nkeys::error::Error> {
        let (issuer, curve) = (KeyPair::new_account(), XKey::new());
        Ok(Self {
            issuer: issuer.public_key(),
            issuer_seed: issuer.seed()?.into(),
            xkey: curve.public_key(),
            xkey_seed: curve.seed()?.into(),
        })
    }
}
