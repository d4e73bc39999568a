//! Failures, told apart by what becomes of the command.

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
    /// The same request cannot succeed.
    Permanent,
}

impl ErrorClass {
    /// The class's name in events and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Throughput => "throughput",
            Self::Pair => "pair",
            Self::Transient => "transient",
            Self::Quota => "quota",
            Self::Token => "token",
            Self::Account => "account",
            Self::Permanent => "permanent",
        }
    }

    /// The class of a Cloud API error, by its code first and by the HTTP status where the code is not known.
    pub fn of_cloud_api(error: &ProviderError) -> Self {
        match error.code {
            130_429 | 131_057 => Self::Throughput,
            131_056 => Self::Pair,
            1 | 2 | 131_000 | 131_016 | 131_014 | 131_053 | 133_004 | 135_000 => Self::Transient,
            4 | 613 | 80_007 | 131_048 | 131_064 => Self::Quota,
            0 | 104 | 190 => Self::Token,
            3 | 10 | 33 | 200..=299 | 368 => Self::Account,
            131_005 | 131_031 | 131_037 | 131_042 | 131_045 | 133_005 | 133_006 | 133_010 => Self::Account,
            100 if error.subcode == Some(33) => Self::Account,
            _ => match error.http {
                429 => Self::Throughput,
                401 => Self::Token,
                500..=599 => Self::Transient,
                _ => Self::Permanent,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_decide_before_the_status_does() {
        for (http, code, subcode, class) in [
            (400, 130_429, None, ErrorClass::Throughput),
            (400, 131_056, None, ErrorClass::Pair),
            (500, 131_000, None, ErrorClass::Transient),
            (400, 80_007, None, ErrorClass::Quota),
            (401, 190, None, ErrorClass::Token),
            (500, 3, None, ErrorClass::Account),
            (400, 100, Some(33), ErrorClass::Account),
            (400, 100, None, ErrorClass::Permanent),
            (400, 131_047, None, ErrorClass::Permanent),
            (400, 999_999, None, ErrorClass::Permanent),
            (429, 999_999, None, ErrorClass::Throughput),
            (503, 999_999, None, ErrorClass::Transient),
        ] {
            let error = ProviderError { http, code, subcode, message: String::new() };
            assert_eq!(ErrorClass::of_cloud_api(&error), class, "{http} {code}");
        }
    }
}
