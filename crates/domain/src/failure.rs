//! Failures, told apart by what becomes of the command.

use std::time::Duration;

/// What a provider said when it refused. `message` is the provider's own title; it names no person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderError {
    /// The HTTP status.
    pub http: u16,
    /// The Cloud API's `error.code`.
    pub code: i64,
    /// The Cloud API's `error.error_subcode`.
    pub subcode: Option<i64>,
    /// The Cloud API's `error.message`.
    pub message: String,
}

/// What becomes of a command whose sending failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// The number's throughput is used up: nothing was sent. The channel slows down; no try is spent.
    Throughput,
    /// The number is in maintenance: nothing was sent. The channel waits a minute; no try is spent.
    Maintenance,
    /// This user got too much from this number: nothing was sent. Only this user waits; no try is spent.
    Pair,
    /// Nothing was sent, and later it may work.
    Transient,
    /// The app's or the account's quota of calls is used up: the channel waits; no try is spent.
    Quota,
    /// The token is no longer good: the channel stops until it gets a new one; no try is spent.
    Token,
    /// The account or the number may not send: the channel stops until an operator acts; no try is spent.
    Account,
    /// This user can't, or must not, be written to for a while: see [`Reach`](crate::Reach).
    Recipient,
    /// The template can't be used for a while: nobody can be sent it.
    Template,
    /// The same request cannot succeed.
    Permanent,
}

impl ErrorClass {
    /// The class's name in events and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Throughput => "throughput",
            Self::Maintenance => "maintenance",
            Self::Pair => "pair",
            Self::Transient => "transient",
            Self::Quota => "quota",
            Self::Token => "token",
            Self::Account => "account",
            Self::Recipient => "recipient",
            Self::Template => "template",
            Self::Permanent => "permanent",
        }
    }

    /// Most tries of a command that was refused with this code, if there are fewer than for others.
    pub fn most_tries(code: i64) -> Option<u32> {
        match code {
            1 | 131_000 | 131_014 | 131_053 => Some(3),
            135_000 => Some(2),
            _ => None,
        }
    }

    /// How long to wait at least before a command that was refused with this code is tried again, if the provider has
    /// a time for it: a flow's hourly share, a template that is still being synchronised, data that is kept for a while.
    pub fn least_wait(code: i64) -> Option<Duration> {
        match code {
            132_069 | 134_101 => Some(Duration::from_secs(600)),
            131_036 => Some(Duration::from_secs(3_600)),
            _ => None,
        }
    }

    /// Whose quota is used up, by the code of a [`Quota`](Self::Quota) error.
    pub fn breadth(code: i64) -> Breadth {
        match code {
            4 => Breadth::App,
            80_007 => Breadth::Account,
            _ => Breadth::Channel,
        }
    }

    /// The class of a Cloud API error, by its code first and by the HTTP status where the code is not known.
    pub fn of_cloud_api(error: &ProviderError) -> Self {
        match error.code {
            130_429 => Self::Throughput,
            131_057 | 2_494_100 => Self::Maintenance,
            131_056 => Self::Pair,
            130_403 | 130_472 | 131_026 | 131_047 | 131_049 | 131_050 => Self::Recipient,
            132_001 | 132_015 | 132_016 | 134_102 => Self::Template,
            1 | 2 | 131_000 | 131_014 | 131_016 | 131_036 | 131_053 => Self::Transient,
            131_208 | 132_069 | 133_004 | 134_101 | 135_000 => Self::Transient,
            4 | 613 | 80_007 | 131_048 | 131_064 => Self::Quota,
            0 | 190 => Self::Token,
            3 | 10 | 33 | 104 | 200..=299 | 368 => Self::Account,
            100 if error.subcode == Some(33) => Self::Account,
            131_005 | 131_031 | 131_037 | 131_042 | 131_045 => Self::Account,
            // The number is not registered, is being moved, or belongs to a model of partnership that is no more.
            133_000..=133_016 | 2_388_001 | 2_388_012 | 2_388_091 | 2_388_093 | 2_388_103 => Self::Account,
            2_593_079 | 2_593_085 => Self::Account,
            // This message can't be sent, whatever the HTTP status. What groups, calls or payments lack is no reason to
            // stop a channel.
            100 | 506 | 130_497 | 130_501 | 131_001 | 131_006 | 131_008 | 131_009 => Self::Permanent,
            131_020 | 131_021 | 131_030 | 131_041 | 131_044 | 131_051 | 131_052 | 131_055 => Self::Permanent,
            131_059 | 131_060 | 131_062 | 131_063 | 131_201..=131_215 => Self::Permanent,
            132_000 | 132_005 | 132_007 | 132_008 | 132_012 | 132_018 | 132_068 => Self::Permanent,
            134_011 | 134_100 | 137_000 | 138_000..=138_025 => Self::Permanent,
            _ => match error.http {
                429 => Self::Throughput,
                401 => Self::Token,
                500..=599 => Self::Transient,
                _ => Self::Permanent,
            },
        }
    }
}

/// How far a used-up quota reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Breadth {
    /// This channel alone.
    Channel,
    /// All channels of its WhatsApp Business Account.
    Account,
    /// All channels of its app.
    App,
}

/// One plain sentence on a Cloud API error code: what happened, and what you can do. `None` for a code of which nothing
/// more is known than its title.
pub fn hint(code: i64) -> Option<&'static str> {
    Some(match code {
        0 | 190 => {
            "Your channel's access token is no longer good: ask whoever runs the gateway for a new one."
        }
        1 | 131_000 => {
            "WhatsApp failed without saying why: send the message again, and ask Meta if it goes on."
        }
        2 | 131_016 | 133_004 => "WhatsApp is out of service or overloaded for a while: try again later.",
        3 | 10 | 131_005 | 200..=299 => {
            "The channel's token lacks a permission: have it granted in the business portfolio, then try again."
        }
        4 | 80_007 => {
            "Too many calls were made for this app or account: wait up to an hour before you go on."
        }
        33 => "The business phone number no longer exists: check which number your channel stands for.",
        100 | 131_009 | 132_008 => {
            "A value in your message is not allowed: compare it with Meta's description of that field."
        }
        368 | 131_031 => {
            "Your account is restricted or locked for breaking a rule: see the account's alerts and appeal there."
        }
        130_403 => "The user has blocked you: send nothing until they write to you.",
        130_429 => {
            "The number's throughput was exceeded: nothing is wrong with the message, send it again shortly."
        }
        130_472 => {
            "The user is in a Meta experiment that receives no marketing messages: don't repeat it, use another way."
        }
        130_497 => {
            "Your business may not send to that country: remove the recipient, or have your category checked."
        }
        131_001 | 132_005 => "The text is too long once all values are filled in: shorten it.",
        131_008 => "Your message lacks a field that it needs: see the details for which one.",
        131_021 => "You sent from a number to that same number: choose another recipient.",
        131_026 => {
            "The message can't reach this user, who may not be on WhatsApp or uses too old a version: check the number \
             and contact them in another way."
        }
        131_030 => "Yours is a test number: add the recipient to its list of allowed numbers first.",
        131_036 => "What the message refers to is not at hand at the moment: send it again in an hour.",
        131_037 => "The display name of your number isn't approved yet: have it approved before you send.",
        131_041 => "There is no such group, or you are not in it: check the group's id.",
        131_042 => {
            "WhatsApp can't charge your account: check its payment method, credit line, currency and time zone."
        }
        131_045 | 133_010 => {
            "Your number is not registered properly with WhatsApp: have it registered again."
        }
        131_047 => "More than 24 hours have passed since the user last wrote: send a template instead.",
        131_048 => {
            "Too many of your messages were blocked or reported as spam: pause your campaigns and send only to those \
             who want it."
        }
        131_049 => {
            "WhatsApp held the message back so that the user doesn't get too much marketing: wait at least a day \
             before you send them more."
        }
        131_050 => "The user doesn't want your marketing messages: send none until they agree again.",
        131_051 => {
            "WhatsApp does not carry this type of message here: ask for it, or send it, in another form."
        }
        131_052 => {
            "The user's file can't be fetched, perhaps because it is too large: ask them to send it in another way."
        }
        131_053 => {
            "WhatsApp can't take your file: check its type and size, and that its link is open to everybody."
        }
        131_055 | 134_100 => {
            "Only marketing templates may be sent this way: send the message in the ordinary way."
        }
        131_056 => {
            "You sent too many messages to this user in a short time: wait a little before the next one."
        }
        131_057 | 2_494_100 => {
            "Your number is in maintenance for a few minutes: send the message again afterwards."
        }
        131_060 => {
            "The message can be read on the phone only: ask the user to send it again if you need it here."
        }
        131_062 => "This kind of message needs the user's phone number: a business-scoped id isn't enough.",
        131_063 => {
            "Marketing templates are switched off for your account on this way of sending: have them allowed."
        }
        131_064 => {
            "Your limit was cut because templates carry the wrong category: correct them and wait until it is lifted."
        }
        131_207 => "The group is suspended: nothing can be sent to it.",
        132_000 => "The number of values differs from the template's placeholders: fill in exactly as many.",
        132_001 => {
            "The template doesn't exist in that language or isn't approved: check both; a new approval takes some minutes."
        }
        132_007 => "The message breaks WhatsApp's rules for content: rewrite it before you send it again.",
        132_012 | 132_018 => {
            "A value doesn't have the form that the template asks for: compare it with the template's sample."
        }
        132_015 => {
            "The template is paused because users rated it badly: improve it, or wait until it is released."
        }
        132_016 => "The template is disabled for good after several pauses: make a new one.",
        132_068 => "The flow in your message is blocked: mend the flow before you send it again.",
        132_069 => {
            "The flow in your message is throttled to a few messages an hour: mend it, and wait up to an hour."
        }
        133_005 => "The PIN of your number is wrong: set it again, or ask whoever owns the number.",
        133_006 => "Your number must be verified before it can be registered: ask for a code and confirm it.",
        134_011 => {
            "You have to accept the terms of WhatsApp payments first: do so in the account's settings."
        }
        134_101 => "The template is new on this way of sending: wait ten minutes before you use it.",
        134_102 => "The template can't be used on this way of sending: use another, or the ordinary way.",
        135_000 => {
            "WhatsApp can't make sense of the message: check each of its fields against Meta's description."
        }
        137_000 => "The user's identity has changed: make sure who it is, then confirm the new identity.",
        138_006 => "The user hasn't allowed you to call: ask for their permission first.",
        2_593_109 => "The business chose not to share its history: nothing from before will arrive.",
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
