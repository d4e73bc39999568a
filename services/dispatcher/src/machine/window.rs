//! Whether a command may be sent to its user at all, and in which form: the customer service window, what the provider
//! said of the user, what it said of the template.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use staffetta_domain::window::{WINDOW, WindowTemplateRef, is_free_form, window_kind, wrap};
use staffetta_domain::{Command, WindowPolicy};
use staffetta_store::{Refused, Standing};

use super::{Machine, Now};

/// What becomes of a command that could be sent now.
#[derive(Debug)]
pub(super) enum Fate {
    /// It is sent, perhaps carried by a template.
    Send(Option<Box<Carried>>),
    /// It is not sent.
    Refuse {
        /// For programs.
        code: &'static str,
        /// For people.
        reason: &'static str,
        /// The provider's code that stands behind it.
        provider: Option<i64>,
    },
}

/// A message that a template carries.
#[derive(Clone, Debug)]
pub(crate) struct Carried {
    /// The template's name.
    pub(super) template: String,
    /// The Cloud API's `template` object.
    pub(super) content: Value,
    /// What of the message the template has no room for.
    pub(super) left_out: Vec<&'static str>,
}

/// Whether a user may be sent anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Window {
    Open,
    /// By our own reckoning.
    Shut,
    /// The provider said that it is shut.
    Refused,
    /// Nothing was ever received.
    Unknown,
}

/// A window that shuts while the message is on its way is shut.
const ON_ITS_WAY: SignedDuration = SignedDuration::from_secs(1);
/// How long a user who could not be reached, or whom the provider spares marketing, is left alone.
const DAY: SignedDuration = SignedDuration::from_hours(24);

/// How far the provider's clock and ours may differ.
const CLOCKS: SignedDuration = SignedDuration::from_secs(5);

const OUTSIDE_WINDOW: i64 = 131_047;
const UNREACHABLE: i64 = 131_026;
const OPTED_OUT: i64 = 131_050;

impl Machine {
    pub(super) fn fate(&self, command: &Command, user: &Standing, now: &Now) -> Fate {
        if user.switched_off {
            let reason = "the contact's WhatsApp switch is off";
            return Fate::Refuse { code: "recipient_switched_off", reason, provider: None };
        }
        if let Some(code) = held(user, now.wall) {
            let reason = "the provider refused messages to this user a while ago, for a reason that lasts";
            return Fate::Refuse { code: "recipient_held", reason, provider: Some(code) };
        }
        if !is_free_form(&command.kind) {
            let name = command.content["name"].as_str().unwrap_or_default();
            return self.template_fate(name, user, now).unwrap_or(Fate::Send(None));
        }
        match (window(user, now.wall), command.window_policy) {
            (Window::Open, _) | (Window::Unknown | Window::Shut, None) => Fate::Send(None),
            (_, Some(WindowPolicy::Template)) => match self.carry(command) {
                Ok(carried) => self
                    .template_fate(&carried.template, user, now)
                    .unwrap_or_else(|| Fate::Send(Some(Box::new(carried)))),
                Err(reason) => Fate::Refuse { code: "window_closed", reason, provider: None },
            },
            (_, None | Some(WindowPolicy::Reject)) => {
                let reason = "the customer service window is shut: send a template";
                Fate::Refuse { code: "window_closed", reason, provider: None }
            }
        }
    }

    /// What keeps a template from being sent.
    fn template_fate(&self, name: &str, user: &Standing, now: &Now) -> Option<Fate> {
        if let Some(code) = self.templates.code(name, now.boot) {
            let reason = "the provider refused this template a while ago, for a reason that lasts";
            return Some(Fate::Refuse { code: "template_held", reason, provider: Some(code) });
        }
        let code = muted(user, name, now.wall)?;
        let reason = "the user gets no marketing messages for now";
        Some(Fate::Refuse { code: "recipient_held", reason, provider: Some(code) })
    }

    /// The message as the channel's window template carries it.
    pub(super) fn carry(&self, command: &Command) -> Result<Carried, &'static str> {
        let kind = window_kind(&command.kind)
            .ok_or("the customer service window is shut, and no template can carry this kind of message")?;
        let template = self
            .view
            .window_templates
            .get(kind)
            .ok_or("the customer service window is shut, and the channel has no template for it")?;
        let (name, language) = (template.name.as_str(), template.language.as_str());
        let wrapped = wrap(command, WindowTemplateRef { name, language })
            .map_err(|_| "the customer service window is shut, and the message fits into no template")?;
        Ok(Carried { template: template.name.clone(), content: wrapped.content, left_out: wrapped.left_out })
    }
}

fn window(user: &Standing, now: Timestamp) -> Window {
    // A refusal counts until the user writes.
    let refused = user.held.as_ref().filter(|held| held.code == OUTSIDE_WINDOW && !wrote_after(user, held));
    match user.wrote {
        _ if refused.is_some() => Window::Refused,
        None => Window::Unknown,
        Some(wrote) if now.duration_since(wrote) < WINDOW - ON_ITS_WAY => Window::Open,
        Some(_) => Window::Shut,
    }
}

/// The code of a refusal that still concerns every message to the user.
fn held(user: &Standing, now: Timestamp) -> Option<i64> {
    let held = user.held.as_ref().filter(|held| !wrote_after(user, held))?;
    let lasts = match held.code {
        OUTSIDE_WINDOW => false,
        UNREACHABLE => now.duration_since(held.at) < DAY,
        // Blocked: until the user writes.
        _ => true,
    };
    lasts.then_some(held.code)
}

/// The code of a refusal that still concerns this template to the user.
fn muted(user: &Standing, template: &str, now: Timestamp) -> Option<i64> {
    let muted = user.muted.as_ref().filter(|muted| muted.template.as_deref() == Some(template))?;
    let lasts = muted.code == OPTED_OUT || now.duration_since(muted.at) < DAY;
    lasts.then_some(muted.code)
}

fn wrote_after(user: &Standing, refused: &Refused) -> bool {
    // The provider's clock counts whole seconds, and is not ours.
    user.wrote.is_some_and(|wrote| wrote.duration_since(refused.at) > -CLOCKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hours: i64) -> Timestamp {
        "2026-11-21T00:00:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_hours(hours)
    }

    fn refused(code: i64, hours: i64) -> Option<Refused> {
        Some(Refused { code, at: at(hours), template: Some("spring".into()) })
    }

    #[test]
    fn a_window_is_open_for_a_day_after_the_user_wrote() {
        let user = Standing { wrote: Some(at(0)), ..Standing::default() };
        assert_eq!(window(&user, at(23)), Window::Open);
        assert_eq!(window(&user, at(24)), Window::Shut);
        assert_eq!(window(&user, at(24) - ON_ITS_WAY), Window::Shut);
        assert_eq!(window(&Standing::default(), at(0)), Window::Unknown);
    }

    #[test]
    fn what_the_provider_said_of_the_window_counts_until_the_user_writes() {
        let never = Standing { held: refused(OUTSIDE_WINDOW, 1), ..Standing::default() };
        assert_eq!(window(&never, at(2)), Window::Refused);
        assert_eq!(held(&never, at(2)), None, "a template may still go");
        let wrote = Standing { wrote: Some(at(3)), ..never };
        assert_eq!(window(&wrote, at(4)), Window::Open);
    }

    #[test]
    fn a_block_lasts_until_the_user_writes_and_an_unreachable_one_a_day() {
        let blocked = Standing { held: refused(130_403, 0), ..Standing::default() };
        assert_eq!(held(&blocked, at(1_000)), Some(130_403));
        assert_eq!(held(&Standing { wrote: Some(at(1)), ..blocked }, at(2)), None);
        let away = Standing { held: refused(UNREACHABLE, 0), ..Standing::default() };
        assert_eq!(held(&away, at(23)), Some(UNREACHABLE));
        assert_eq!(held(&away, at(24)), None);
    }

    #[test]
    fn marketing_is_muted_by_the_template_that_was_refused() {
        let capped = Standing { muted: refused(131_049, 0), ..Standing::default() };
        assert_eq!(muted(&capped, "spring", at(1)), Some(131_049));
        assert_eq!(muted(&capped, "invoice", at(1)), None);
        assert_eq!(muted(&capped, "spring", at(25)), None);
        let left = Standing { muted: refused(OPTED_OUT, 0), ..Standing::default() };
        assert_eq!(muted(&left, "spring", at(2_000)), Some(OPTED_OUT));
    }
}
