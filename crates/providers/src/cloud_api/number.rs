//! What the provider grants a number.

use std::time::Duration;

use reqwest::Method;
use secrecy::SecretString;
use serde::Deserialize;
use tokio::time::Instant;

use super::{CloudApi, bearer, read};

/// Longest time for the answer.
const ANSWER: Duration = Duration::from_secs(3);
/// Messages a second of each level that Meta names.
const LEVELS: [(&str, u32); 2] = [("STANDARD", 80), ("HIGH", 1_000)];

#[derive(Deserialize)]
struct Number {
    throughput: Throughput,
}

#[derive(Deserialize)]
struct Throughput {
    level: String,
}

impl CloudApi {
    /// How many messages a second the provider grants the number, sent and received together. `None` if it does not say
    /// within three seconds, or names a level of which nothing is known.
    pub async fn throughput(&self, phone_number_id: &str, token: &SecretString) -> Option<u32> {
        let request = self
            .http
            .get(format!("{}/{phone_number_id}?fields=throughput", self.base))
            .header(reqwest::header::AUTHORIZATION, bearer(token)?);
        let asking = async {
            let begun = Instant::now();
            let sent = request.send().await;
            self.requests.ended(&Method::GET, begun, &sent);
            let response = sent.ok()?.error_for_status().ok()?;
            let number: Number = serde_json::from_slice(&read(response).await?).ok()?;
            let level = number.throughput.level;
            LEVELS.iter().find(|(name, _)| *name == level).map(|(_, rate)| *rate)
        };
        tokio::time::timeout(ANSWER, asking).await.ok()?
    }
}
