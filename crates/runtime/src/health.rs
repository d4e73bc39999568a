//! Whether a process is fit to take work.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

type Probe = Box<dyn Fn() -> bool + Send + Sync>;

/// What `/readyz` asks. Clones share their checks.
#[derive(Clone, Default)]
pub struct Health {
    checks: Arc<Mutex<Vec<(String, Probe)>>>,
}

impl Health {
    /// Adds a check. `probe` must answer at once.
    pub fn add(&self, name: impl Into<String>, probe: impl Fn() -> bool + Send + Sync + 'static) {
        self.checks.lock().unwrap_or_else(PoisonError::into_inner).push((name.into(), Box::new(probe)));
    }

    /// Each check's name and whether it passes now.
    pub fn checks(&self) -> Vec<(String, bool)> {
        let checks = self.checks.lock().unwrap_or_else(PoisonError::into_inner);
        checks.iter().map(|(name, probe)| (name.clone(), probe())).collect()
    }
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.checks()).finish()
    }
}
