//! When the channels' access tokens end: asked of the provider now and then, one channel at a time, and apart from the
//! actors.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use staffetta_bus::{Channel, Provider, RegistryView, boot_time};
use staffetta_domain::ChannelId;
use staffetta_providers::graph::{CallError, Graph};
use staffetta_runtime::RetryPolicy;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::board::{Board, ChannelLabels};

/// Between two questions about one token, a quarter more or less.
const EVERY: RetryPolicy = always(Duration::from_secs(6 * 3_600));
/// The same after a question that was not answered.
const AGAIN: RetryPolicy = always(Duration::from_secs(15 * 60));
/// Longest time for an answer.
const ANSWER: Duration = Duration::from_secs(5);
/// Between two questions.
const PAUSE: Duration = Duration::from_millis(200);
/// How often it is looked which tokens there are, while there is nothing to ask.
const LOOK: Duration = Duration::from_secs(2);

const fn always(wait: Duration) -> RetryPolicy {
    RetryPolicy { first: wait, longest: wait, waits: u32::MAX }
}

/// Asks, and shows the answers on the board.
#[derive(Debug)]
pub(crate) struct Tokens {
    graph: Graph,
    registry: RegistryView,
    board: Board,
    asked: HashMap<ChannelId, Asked>,
}

/// A token that the provider was asked about.
#[derive(Debug)]
struct Asked {
    token: SecretString,
    again_at: Duration,
}

/// A question to ask now.
struct Question {
    of: ChannelLabels,
    channel: ChannelId,
    token: SecretString,
}

impl Tokens {
    pub(crate) fn new(graph: Graph, registry: RegistryView, board: Board) -> Self {
        Self { graph, registry, board, asked: HashMap::new() }
    }

    /// Asks about the tokens of the channels that this process owns until `stop`: soon after it has come to own them,
    /// after they have changed, and every six hours.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        stop.run_until_cancelled(async {
            loop {
                let pause = match self.next() {
                    Some(question) => {
                        self.ask(question).await;
                        PAUSE
                    }
                    None => LOOK,
                };
                sleep(pause).await;
            }
        })
        .await;
    }

    /// A token to ask about, if there is one.
    fn next(&mut self) -> Option<Question> {
        let (registry, now) = (self.registry.load(), boot_time());
        let mut question = None;
        let mut there = HashSet::new();
        for channel in registry.channels().filter(|channel| self.board.owns(&channel.id)) {
            let Some(token) = token(channel) else { continue };
            there.insert(&channel.id);
            let asked = self.asked.get(&channel.id);
            let is_known = asked.is_some_and(|asked| {
                asked.token.expose_secret() == token.expose_secret() && now < asked.again_at
            });
            if !is_known && question.is_none() {
                let of = ChannelLabels::of(&channel.tenant.id, &channel.id);
                question = Some(Question { of, channel: channel.id.clone(), token: token.clone() });
            }
        }
        self.asked.retain(|channel, _| there.contains(channel));
        self.board.keep_tokens(&there);
        question
    }

    async fn ask(&mut self, Question { of, channel, token }: Question) {
        let is_new =
            self.asked.get(&channel).is_none_or(|asked| asked.token.expose_secret() != token.expose_secret());
        let answer = timeout(ANSWER, self.graph.token_health(&token)).await;
        let again = match answer {
            Ok(Ok(health)) => {
                self.board.token_ends(of, health.expires);
                EVERY
            }
            failed => {
                if is_new {
                    // What was known was another token's.
                    self.board.token_ends(of, None);
                }
                debug!(%channel, "the provider did not say when the channel's token ends");
                match failed {
                    Ok(Err(CallError::NoAnswer(_))) | Err(_) => AGAIN,
                    Ok(_) => EVERY,
                }
            }
        };
        let now = boot_time();
        let wait =
            again.after(1, u64::try_from(now.as_micros()).unwrap_or_default()).unwrap_or(again.longest);
        self.asked.insert(channel, Asked { token, again_at: now + wait });
    }
}

/// What can be asked about.
fn token(channel: &Channel) -> Option<&SecretString> {
    channel.access_token.as_ref().filter(|_| channel.provider == Provider::CloudApi)
}
