//! Templates: which are paused, disabled or missing, and what they are for. Names nobody told of are accepted.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use rand::Rng as _;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::chance::{Purpose, generator};
use crate::control::ControlError;
use crate::graph_error::GraphError;
use crate::options::InvalidOption;
use crate::validate::{TemplateName, is_template_name};
use crate::world::{State, World};

/// More templates than this are refused.
const MAX_TEMPLATES: usize = 10_000;

/// What is told of a template.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Template {
    /// Whether it can be sent.
    pub status: TemplateStatus,
    /// What it is for.
    pub category: TemplateCategory,
    /// The only language it exists in; in any language when missing.
    pub language: Option<String>,
    /// Its parts, as a list shows them; a short body when missing.
    pub components: Option<Vec<Value>>,
}

impl Default for Template {
    fn default() -> Self {
        Self {
            status: TemplateStatus::Approved,
            category: TemplateCategory::Utility,
            language: None,
            components: None,
        }
    }
}

/// Whether a template can be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TemplateStatus {
    /// It can.
    Approved,
    /// Refused with 132015.
    Paused,
    /// Refused with 132016.
    Disabled,
    /// Refused with 132001.
    Missing,
}

/// What a template is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TemplateCategory {
    /// Advertising: users may opt out of it, and Meta caps it.
    Marketing,
    /// What a user expects to hear.
    Utility,
    /// Codes. Business-scoped user ids can't receive them.
    Authentication,
}

impl TemplateCategory {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Marketing => "marketing",
            Self::Utility => "utility",
            Self::Authentication => "authentication",
        }
    }
}

/// The templates that were told of, by name.
#[derive(Debug, Default)]
pub(crate) struct Templates {
    known: HashMap<Box<str>, Known>,
}

#[derive(Debug, Default)]
struct Known {
    template: Template,
    pauses: u32,
}

impl Templates {
    /// What the template is for, or why it can't be sent.
    pub(crate) fn check(&self, asked: &TemplateName) -> Result<TemplateCategory, GraphError> {
        let Some(Known { template, .. }) = self.known.get(asked.name.as_str()) else {
            return Ok(TemplateCategory::Utility);
        };
        let elsewhere = template.language.as_ref().is_some_and(|language| *language != asked.language);
        match template.status {
            TemplateStatus::Missing => Err(missing(asked)),
            _ if elsewhere => Err(missing(asked)),
            TemplateStatus::Paused => Err(GraphError::of(132_015)),
            TemplateStatus::Disabled => Err(GraphError::of(132_016)),
            TemplateStatus::Approved => Ok(template.category),
        }
    }

    /// Those that an account has, by name, with all that is known of them.
    pub(crate) fn list(&self, seed: u64, waba_id: &str) -> Vec<(String, Map<String, Value>)> {
        let known = self.known.iter().filter(|(_, known)| known.template.status != TemplateStatus::Missing);
        let mut list: Vec<_> = known
            .map(|(name, Known { template, .. })| (name.to_string(), template.describe(name, seed, waba_id)))
            .collect();
        list.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        list
    }

    /// Gives back what webhooks tell of the change, without the template's id; nothing when its status is
    /// what it was. Fails when there are too many.
    fn put(&mut self, name: &str, template: Template) -> Result<Option<Value>, ControlError> {
        if self.known.len() >= MAX_TEMPLATES && !self.known.contains_key(name) {
            return Err(ControlError::TooMany { what: "templates", most: MAX_TEMPLATES });
        }
        let known = self.known.entry(name.into()).or_default();
        let before = std::mem::replace(&mut known.template, template).status;
        let (template, status) = (&known.template, known.template.status);
        if status == before {
            return Ok(None);
        }
        let mut value = json!({
            "message_template_name": name,
            "message_template_language": template.shown_language(),
            "message_template_category": template.category.name().to_ascii_uppercase(),
        });
        let (event, reason, other_info) = match status {
            TemplateStatus::Approved if before == TemplateStatus::Paused => {
                ("APPROVED", json!("NONE"), Some(("UNPAUSE", "The template is active again.")))
            }
            TemplateStatus::Approved => ("APPROVED", json!("NONE"), None),
            TemplateStatus::Missing => ("DELETED", Value::Null, None),
            TemplateStatus::Disabled => {
                ("DISABLED", Value::Null, Some(("DISABLED", "The template was paused too often.")))
            }
            TemplateStatus::Paused => {
                known.pauses += 1;
                let title = match known.pauses {
                    1 => ("FIRST_PAUSE", "The template is paused for 3 hours."),
                    2 => ("SECOND_PAUSE", "The template is paused for 6 hours."),
                    _ => ("RATE_LIMITING_PAUSE", "The template is paused until it is unpaused."),
                };
                ("PAUSED", Value::Null, Some(title))
            }
        };
        value["event"] = json!(event);
        value["reason"] = reason;
        if let Some((title, description)) = other_info {
            value["other_info"] = json!({ "title": title, "description": description });
        }
        Ok(Some(value))
    }
}

impl Template {
    /// The language it is told in.
    fn shown_language(&self) -> &str {
        self.language.as_deref().unwrap_or("en_US")
    }

    fn describe(&self, name: &str, seed: u64, waba_id: &str) -> Map<String, Value> {
        let quality = match self.status {
            TemplateStatus::Approved => "GREEN",
            _ => "RED",
        };
        let body = || vec![json!({ "type": "BODY", "text": format!("The text of {name}.") })];
        let told = json!({
            "id": id(seed, waba_id, name).to_string(),
            "name": name,
            "language": self.shown_language(),
            "status": self.status.name(),
            "category": self.category.name().to_ascii_uppercase(),
            "parameter_format": "POSITIONAL",
            "components": self.components.clone().unwrap_or_else(body),
            "quality_score": { "score": quality, "date": 1_700_000_000 },
            "rejected_reason": "NONE",
        });
        match told {
            Value::Object(told) => told,
            _ => Map::new(),
        }
    }
}

impl TemplateStatus {
    fn name(self) -> &'static str {
        match self {
            Self::Approved => "APPROVED",
            Self::Paused => "PAUSED",
            Self::Disabled => "DISABLED",
            Self::Missing => "DELETED",
        }
    }
}

/// The template's id in this account.
fn id(seed: u64, waba_id: &str, name: &str) -> u64 {
    generator(seed, &format!("{waba_id} {name}"), Purpose::Template, 0)
        .random_range(100_000_000_000_000_u64..1 << 50)
}

fn missing(asked: &TemplateName) -> GraphError {
    let TemplateName { name, language } = asked;
    GraphError::with(132_001, format!("template name ({name}) does not exist in {language}"))
}

impl World {
    /// Tells of a template, for all accounts. A change of its status goes once to each account's webhook.
    /// Fails on a name that no template can have, and beyond ten thousand templates.
    pub(crate) fn put_template(&self, name: &str, template: Template) -> Result<(), ControlError> {
        if !is_template_name(name) {
            return Err(InvalidOption::TemplateName.into());
        }
        let mut state = self.state();
        let State { channels, behaviour, templates, .. } = &mut *state;
        let Some(change) = templates.put(name, template)? else { return Ok(()) };
        // One number speaks for each account and webhook: the first by id, so that a second run is alike.
        let mut speakers: BTreeMap<(String, String), Arc<str>> = BTreeMap::new();
        for (number, channel) in channels.iter() {
            let Some(source) = &channel.source else { continue };
            let speaker = speakers
                .entry((source.waba_id.clone(), source.target.url.clone()))
                .or_insert_with(|| number.clone());
            if number < speaker {
                *speaker = number.clone();
            }
        }
        for ((waba_id, _), number) in speakers {
            let Some(channel) = channels.get_mut(&number) else { continue };
            let mut value = change.clone();
            value["message_template_id"] = json!(id(self.seed, &waba_id, name));
            self.announce(channel, behaviour, ("message_template_status_update", value), Duration::ZERO);
        }
        Ok(())
    }
}
