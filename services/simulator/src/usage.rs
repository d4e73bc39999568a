//! How much of its call limits an app and an account have used: told in headers, and the end at 100 percent.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::graph_error::GraphError;
use crate::options::InvalidOption;

const APP: HeaderName = HeaderName::from_static("x-app-usage");
const BUSINESS: HeaderName = HeaderName::from_static("x-business-use-case-usage");

/// At this percentage calls are refused.
const FULL: u32 = 100;

/// What answers to sends say of the call limits. What is missing is not said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Usage {
    /// Percent of the app's calls. At 100 sends of every number are refused with 4.
    pub app: Option<u32>,
    /// Of an account's calls.
    pub business: Option<BusinessUsage>,
}

/// How much of an account's limits is used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BusinessUsage {
    /// Percent of the calls. When this or one of the next two is 100, sends are refused with 80007.
    pub call_count: u32,
    /// Percent of the processor time.
    pub total_cputime: u32,
    /// Percent of the time.
    pub total_time: u32,
    /// Minutes until calls pass again. Only told: nothing ends by itself.
    pub estimated_time_to_regain_access: u32,
    /// The only account it holds for; for each account when missing.
    pub waba_id: Option<String>,
}

impl Usage {
    /// Fails on a percentage above 100.
    pub fn check(&self) -> Result<(), InvalidOption> {
        let percents = [("app", self.app.unwrap_or_default())].into_iter().chain(
            self.business
                .iter()
                .flat_map(|used| [("call_count", used.call_count), ("total_cputime", used.total_cputime)]),
        );
        let percents = percents.chain(self.business.iter().map(|used| ("total_time", used.total_time)));
        for (name, percent) in percents {
            if percent > FULL {
                return Err(InvalidOption::Percent { name });
            }
        }
        Ok(())
    }

    /// Why a call for this account is refused, if it is.
    pub(crate) fn refusal(&self, waba_id: &str) -> Option<GraphError> {
        if self.app.is_some_and(|percent| percent >= FULL) {
            return Some(GraphError::of(4));
        }
        let full = |used: &BusinessUsage| {
            [used.call_count, used.total_cputime, used.total_time].iter().any(|percent| *percent >= FULL)
        };
        self.business_of(waba_id).filter(|used| full(used)).map(|_| GraphError::of(80_007))
    }

    /// What an answer says. An answer to a number that is not known names no account.
    pub(crate) fn headers(&self, waba_id: Option<&str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let app = self.app.map(|percent| {
            // The times are others than the calls: whoever reads the wrong one shows.
            let time = percent / 2;
            json!({ "call_count": percent, "total_time": time, "total_cputime": time })
        });
        let business = waba_id.and_then(|waba_id| {
            let used = self.business_of(waba_id)?;
            Some(json!({ waba_id: [{
                "type": "whatsapp",
                "call_count": used.call_count,
                "total_cputime": used.total_cputime,
                "total_time": used.total_time,
                "estimated_time_to_regain_access": used.estimated_time_to_regain_access,
            }] }))
        });
        for (name, value) in [(APP, app), (BUSINESS, business)] {
            // An account's id that no header can hold is left out.
            if let Some(value) = value.and_then(|value| HeaderValue::try_from(value.to_string()).ok()) {
                headers.insert(name, value);
            }
        }
        headers
    }

    fn business_of(&self, waba_id: &str) -> Option<&BusinessUsage> {
        self.business.as_ref().filter(|used| used.waba_id.as_deref().is_none_or(|only| only == waba_id))
    }
}
