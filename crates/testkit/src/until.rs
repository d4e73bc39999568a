//! Waiting for a state instead of for a time.

use std::time::Duration;

use anyhow::Context;
use tokio::time::{sleep, timeout};

/// Between two looks: short enough that nobody notices, long enough that looking costs nothing.
const PAUSE: Duration = Duration::from_millis(10);

/// Looks again and again until `probe` finds something, and answers with it.
///
/// # Errors
///
/// When `limit` has passed without; the error says that `what` did not come. A probe that hangs counts too.
pub async fn until<T>(
    what: &str,
    limit: Duration,
    mut probe: impl AsyncFnMut() -> Option<T>,
) -> anyhow::Result<T> {
    let looking = async {
        loop {
            if let Some(found) = probe().await {
                return found;
            }
            sleep(PAUSE).await;
        }
    };
    timeout(limit, looking).await.with_context(|| format!("waited {limit:?} in vain for {what}"))
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    const SHORT: Duration = Duration::from_millis(50);

    #[tokio::test(start_paused = true)]
    async fn what_the_probe_finds_is_the_answer() {
        let mut looks = 0;
        let found = until("the third look", SHORT, async || {
            looks += 1;
            (looks == 3).then_some("there")
        });
        assert_eq!(found.await.unwrap(), "there");
    }

    #[tokio::test(start_paused = true)]
    async fn the_error_names_what_did_not_come() {
        let error = until("the tide", SHORT, async || None::<()>).await.unwrap_err();
        assert!(format!("{error:#}").contains("the tide"), "{error:#}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_hangs_is_given_up() {
        let error = until("an answer", SHORT, async || pending::<Option<()>>().await).await.unwrap_err();
        assert!(format!("{error:#}").contains("an answer"), "{error:#}");
    }
}
