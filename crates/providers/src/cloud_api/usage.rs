//! How much of its quotas the provider says is used up, before it refuses.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::header::HeaderMap;
use serde::Deserialize;

/// What the headers of one answer said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// The most used of the app's quotas of calls, in percent; at 100 calls are refused.
    pub app_percent: Option<u32>,
    /// How long until the account has calls again, if it has used them up.
    pub account_wait: Option<Duration>,
}

/// The longest wait that is believed.
const LONGEST: Duration = Duration::from_secs(3_600);

#[derive(Deserialize)]
struct AppUsage {
    #[serde(default)]
    call_count: f64,
    #[serde(default)]
    total_time: f64,
    #[serde(default)]
    total_cputime: f64,
}

#[derive(Deserialize)]
struct BusinessUsage {
    #[serde(default)]
    estimated_time_to_regain_access: f64,
}

impl Usage {
    /// Reads `X-App-Usage` and `X-Business-Use-Case-Usage`; what can't be read says nothing.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let text = |name| headers.get(name)?.to_str().ok();
        let app = text("x-app-usage").and_then(|text| serde_json::from_str::<AppUsage>(text).ok());
        let most = |usage: AppUsage| usage.call_count.max(usage.total_time).max(usage.total_cputime);
        let business = text("x-business-use-case-usage")
            .and_then(|text| serde_json::from_str::<BTreeMap<String, Vec<BusinessUsage>>>(text).ok());
        let minutes = business.into_iter().flat_map(BTreeMap::into_values).flatten();
        let longest = minutes.map(|usage| usage.estimated_time_to_regain_access).fold(0.0, f64::max);
        Self {
            app_percent: app.map(|usage| most(usage).clamp(0.0, 10_000.0) as u32),
            account_wait: Duration::try_from_secs_f64(longest * 60.0)
                .ok()
                .filter(|wait| !wait.is_zero())
                .map(|wait| wait.min(LONGEST)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(app: &str, business: &str) -> Usage {
        let mut headers = HeaderMap::new();
        headers.insert("x-app-usage", app.parse().unwrap());
        headers.insert("x-business-use-case-usage", business.parse().unwrap());
        Usage::of(&headers)
    }

    #[test]
    fn the_fullest_quota_and_the_longest_wait_count() {
        let usage = usage(
            r#"{"call_count":28,"total_time":100,"total_cputime":25}"#,
            r#"{"1":[{"type":"whatsapp","call_count":1,"estimated_time_to_regain_access":0}],
                "2":[{"type":"whatsapp","estimated_time_to_regain_access":19}]}"#
                .replace('\n', " ")
                .as_str(),
        );
        assert_eq!(usage.app_percent, Some(100));
        assert_eq!(usage.account_wait, Some(Duration::from_secs(19 * 60)));
    }

    #[test]
    fn what_cannot_be_read_says_nothing() {
        for text in ["", "{", r#"{"call_count":"x"}"#, "null"] {
            assert_eq!(usage(text, text), Usage::default(), "{text}");
        }
        assert_eq!(usage("{}", r#"{"1":[{"estimated_time_to_regain_access":1e300}]}"#).account_wait, None);
    }
}
