//! Whether a user can be written to, as far as the provider or the user has said so.

/// What a refusal, or a user's word, says about the messages after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The provider refused a message for a reason that lies with its user.
    Refused {
        /// The Cloud API's code: one for which [`Reach::refused`] gives this.
        code: i64,
        /// The template's name, if the message was one and its name is known.
        template: Option<String>,
    },
    /// The user takes marketing messages again.
    Agreed,
}

impl Reach {
    /// What a refusal with this code says; `None` if the reason does not lie with the user.
    pub fn refused(code: i64, template: Option<&str>) -> Option<Self> {
        let lies_with_user = HELD.contains(&code) || MUTED.contains(&code);
        lies_with_user.then(|| Self::Refused { code, template: template.map(str::to_owned) })
    }

    /// Whether the refusal concerns marketing alone. Only the template that was refused is known to be marketing.
    pub fn is_marketing(code: i64) -> bool {
        MUTED.contains(&code)
    }
}

/// Blocked, unreachable, outside the window.
const HELD: [i64; 3] = [130_403, 131_026, 131_047];
/// An experiment, Meta's cap, the user's own choice.
const MUTED: [i64; 3] = [130_472, 131_049, 131_050];
