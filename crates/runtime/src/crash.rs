//! Places where a test makes the process die, as if its machine had lost power.

/// Dies here, without cleaning anything up, if the environment says so: `STAFFETTA_CRASH_AT=<name>`, or
/// `<name>:<n>` for the n-th time that the place is reached. Does nothing in a release build.
#[inline]
pub fn crash_point(name: &str) {
    #[cfg(debug_assertions)]
    debug::reached(name);
    #[cfg(not(debug_assertions))]
    let _ = name;
}

#[cfg(debug_assertions)]
mod debug {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    struct Plan {
        name: String,
        left: AtomicU32,
    }

    pub(super) fn reached(name: &str) {
        static PLAN: OnceLock<Option<Plan>> = OnceLock::new();
        let plan = PLAN.get_or_init(|| {
            let text = std::env::var("STAFFETTA_CRASH_AT").ok()?;
            let (name, times) = match text.rsplit_once(':') {
                Some((name, times)) => (name.to_owned(), times.parse().ok()?),
                None => (text, 1),
            };
            Some(Plan { name, left: AtomicU32::new(times) })
        });
        if let Some(plan) = plan
            && plan.name == name
            && plan.left.fetch_sub(1, Ordering::Relaxed) == 1
        {
            std::process::abort();
        }
    }
}
