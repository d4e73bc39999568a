//! `GET /v1/messages`.

use std::collections::HashSet;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use staffetta_domain::{CommandState, TenantId};
use staffetta_store::{CommandRecord, ConversationFilter, SentCursor, SentFilter, StoreError};
use tokio::time::timeout;

use super::MessageView;
use super::view::{word, words};
use crate::App;
use crate::caller::{Caller, Reader};
use crate::channels::Page;
use crate::cursor;
use crate::problem::{Kind, Problem};
use crate::query::{InvalidParameter, Parameters, RawParameters};

/// Longest time for all that is asked of the database.
const LIMIT: Duration = Duration::from_secs(10);

/// Most contacts, and most conversations, whose name is taken for the one that is looked for.
const PEOPLE: u32 = 20;

/// How many messages are read at a time where the database can't tell which are wanted, and how often.
const READ: u32 = 1_000;
const READS: usize = 4;

/// Why messages could not be listed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListMessagesError {
    #[error(transparent)]
    Invalid(#[from] InvalidParameter),
    #[error("the messages can't be looked up")]
    Store(#[from] StoreError),
    #[error("the messages could not be looked up in time")]
    TimedOut,
}

impl IntoResponse for ListMessagesError {
    fn into_response(self) -> Response {
        match &self {
            Self::Invalid(invalid) => Problem::of(Kind::INVALID_PARAMETER, &self).field(invalid.name.clone()),
            Self::Store(error) => Problem::of(Kind::of_store(error), &self).retry_after(2),
            Self::TimedOut => Problem::of(Kind::UNAVAILABLE, &self).retry_after(2),
        }
        .into_response()
    }
}

/// `GET /v1/messages`: the messages that you sent, newest first.
///
/// A page may hold fewer than `limit`, even none, and still have a `next`.
#[utoipa::path(
    get,
    path = "/v1/messages",
    operation_id = "list_messages",
    tag = "messages",
    params(
        ("channel" = Option<String>, Query, description = "Those from this channel"),
        ("number" = Option<String>, Query, example = "39348", description = "Those to a number that begins so"),
        ("name" = Option<String>, Query, max_length = 100,
            description = "Those to somebody whose name, username or company contains this, in any case"),
        ("state" = Option<String>, Query, example = "failed", description = "Those that have come so far"),
        ("wamid" = Option<String>, Query, description = "The one that WhatsApp calls so"),
        ("since" = Option<String>, Query, format = DateTime, description = "Those taken in at this time or later"),
        ("until" = Option<String>, Query, format = DateTime, description = "Those taken in before this time"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 200, description = "Most on a page; 50 if not given"),
        ("cursor" = Option<String>, Query, description = "The `next` of the page before"),
    ),
    responses(
        (status = 200, description = "A page of messages", body = Page<MessageView>),
        (status = 400, description = "`invalid-parameter`"),
    ),
)]
pub(crate) async fn list(
    State(app): State<App>,
    Reader(Caller(tenant)): Reader,
    parameters: RawParameters,
) -> Result<Json<Page<MessageView>>, ListMessagesError> {
    let known = ["channel", "number", "name", "state", "wamid", "since", "until", "limit", "cursor"];
    let mut parameters = Parameters::of(parameters, &known)?;
    let name = parameters.name()?;
    let limit = parameters.limit()?;
    let list = [tenant.id.as_str(), "sent"];
    let after = parameters.take("cursor").map(|text| place(&list, &text)).transpose()?;
    let mut wanted = WantedRecords::of(&mut parameters)?;
    let looking = async {
        if let Some(name) = name {
            wanted.are_to(people(&app, &tenant.id, &wanted.filter, name).await?);
        }
        wanted.page(&app, &tenant.id, after, limit as usize).await
    };
    let (records, next) = timeout(LIMIT, looking).await.map_err(|_| ListMessagesError::TimedOut)??;
    let next = next.map(|next| cursor::write_named(&list, next.created, next.id.as_str()));
    Ok(Json(Page { items: records.into_iter().map(Into::into).collect(), next }))
}

fn place(list: &[&str], text: &str) -> Result<SentCursor, InvalidParameter> {
    let (created, id) = cursor::read_named(list, text)?;
    let id = id.parse().map_err(|_| cursor::wrong())?;
    Ok(SentCursor { created, id })
}

/// The numbers and ids of people who bear the name, or whose company does.
async fn people(
    app: &App,
    tenant: &TenantId,
    filter: &SentFilter,
    name: String,
) -> Result<HashSet<String>, StoreError> {
    let contacts = app.store.contacts(tenant, Some(&name), None, PEOPLE).await?;
    let talks = ConversationFilter {
        channel: filter.channel.clone(),
        name: Some(name),
        number: filter.number.clone(),
        unread_only: false,
    };
    let talks = app.store.conversations(tenant, &talks, None, PEOPLE).await?;
    let talked_to = talks.into_iter().flat_map(|talk| talk.phone.into_iter().chain(talk.user_id));
    Ok(contacts.into_iter().map(|contact| contact.number).chain(talked_to).collect())
}

/// Which messages are wanted: what the database can tell, and what it can't.
#[derive(Default)]
struct WantedRecords {
    filter: SentFilter,
    word: Option<&'static str>,
    people: Option<HashSet<String>>,
}

impl WantedRecords {
    fn of(parameters: &mut Parameters) -> Result<Self, InvalidParameter> {
        let word = parameters.take("state").map(|text| known_word(&text)).transpose()?;
        // A message that failed may have done so before it was accepted, or after.
        let state = word.filter(|word| *word != "failed");
        let state = state.map(|word| CommandState::from_name(word).unwrap_or(CommandState::Accepted));
        let filter = SentFilter {
            channel: parameters.id("channel")?,
            number: parameters.number()?,
            state,
            wamid: parameters.id("wamid")?,
            since: parameters.moment("since")?,
            until: parameters.moment("until")?,
        };
        Ok(Self { filter, word, people: None })
    }

    fn are_to(&mut self, people: HashSet<String>) {
        if let (Some(one), 1) = (people.iter().next(), people.len())
            && self.filter.number.as_ref().is_none_or(|number| one.starts_with(number))
        {
            self.filter.number = Some(one.clone());
        }
        self.people = Some(people);
    }

    fn suits(&self, record: &CommandRecord) -> bool {
        let to = |people: &HashSet<String>| record.user.as_ref().is_some_and(|user| people.contains(user));
        self.word.is_none_or(|wanted| word(record.state, record.message) == wanted)
            && self.people.as_ref().is_none_or(to)
    }

    async fn page(
        &self,
        app: &App,
        tenant: &TenantId,
        mut after: Option<SentCursor>,
        limit: usize,
    ) -> Result<(Vec<CommandRecord>, Option<SentCursor>), StoreError> {
        let mut found: Vec<CommandRecord> = Vec::new();
        if self.people.as_ref().is_some_and(HashSet::is_empty) {
            return Ok((found, None));
        }
        let all = self.word.is_none() && self.people.is_none();
        let (size, reads) = if all { (limit as u32, 1) } else { (READ, READS) };
        for _ in 0..reads {
            let page = app.store.sent(tenant, &self.filter, after, size).await?;
            for record in page.records {
                if !self.suits(&record) {
                    continue;
                }
                if found.len() == limit {
                    let last = found.last();
                    let last = last.map(|last| SentCursor { created: last.created, id: last.id.clone() });
                    return Ok((found, last));
                }
                found.push(record);
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        Ok((found, after))
    }
}

fn known_word(text: &str) -> Result<&'static str, InvalidParameter> {
    words().find(|word| *word == text).ok_or_else(|| {
        let all: Vec<&str> = words().collect();
        InvalidParameter::new("state", format!("must be one of {}", all.join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_that_a_message_can_have_is_known_once() {
        let all: Vec<&str> = words().collect();
        assert_eq!(
            all,
            [
                "queued",
                "sending",
                "in_doubt",
                "accepted",
                "rejected",
                "failed",
                "expired",
                "cancelled",
                "sent",
                "delivered",
                "read",
                "played"
            ]
        );
        assert!(all.iter().all(|word| known_word(word) == Ok(word)));
        assert_eq!(known_word("received").unwrap_err().name, "state");
    }
}
