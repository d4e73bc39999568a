//! What a business says of itself.

use serde_json::{Map, Value};

use crate::graph_error::GraphError;
use crate::validate::{array, only, optional_text};

/// What a profile holds.
pub(crate) const FIELDS: [&str; 7] =
    ["about", "address", "description", "email", "profile_picture_url", "websites", "vertical"];

const VERTICALS: [&str; 19] = [
    "AUTO",
    "BEAUTY",
    "APPAREL",
    "EDU",
    "ENTERTAIN",
    "EVENT_PLAN",
    "FINANCE",
    "GROCERY",
    "GOVT",
    "HOTEL",
    "HEALTH",
    "NONPROFIT",
    "PROF_SERVICES",
    "RETAIL",
    "TRAVEL",
    "RESTAURANT",
    "NOT_A_BIZ",
    "OTHER",
    "UNDEFINED",
];

/// The profile of a business that has said nothing yet.
pub(crate) fn empty() -> Map<String, Value> {
    Map::from_iter([("vertical".to_owned(), Value::from("UNDEFINED"))])
}

/// What a change of a profile says, without what is not part of it. Fails on a key that no profile has and on
/// what is too long.
pub(crate) fn check(mut change: Map<String, Value>) -> Result<Map<String, Value>, GraphError> {
    only(
        &change,
        "request",
        &[
            "messaging_product",
            "about",
            "address",
            "description",
            "email",
            "websites",
            "vertical",
            "profile_picture_handle",
        ],
    )?;
    for (name, most) in [("about", 139), ("address", 256), ("description", 512), ("email", 128)] {
        optional_text(&change, name, most)?;
    }
    if change.get("about").is_some_and(|about| about == "") {
        return Err(GraphError::parameter("Param about must not be empty."));
    }
    if let Some(vertical) = optional_text(&change, "vertical", 64)?
        && !VERTICALS.contains(&vertical)
    {
        return Err(GraphError::parameter("Param vertical must be one of the verticals."));
    }
    if change.contains_key("websites") {
        let short = |site: &Value| site.as_str().is_some_and(|site| site.chars().count() <= 256);
        if !array(&change, "websites", "request", (0, 2))?.iter().all(short) {
            return Err(GraphError::parameter("Param websites must hold URLs of at most 256 characters."));
        }
    }
    if let Some(handle) = optional_text(&change, "profile_picture_handle", usize::MAX)? {
        let url = format!(
            "https://pps.whatsapp.net/v/{}",
            hex::encode(handle.as_bytes().get(..16).unwrap_or_default())
        );
        change.insert("profile_picture_url".to_owned(), Value::String(url));
    }
    change.remove("messaging_product");
    change.remove("profile_picture_handle");
    Ok(change)
}
