//! Requests an app is serving, by id, so that it notices when its own call comes back to it.
//!
//! One request sets off one call of an app at a time, so the same id twice at once is a circle.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Ids being served; clones share them.
#[derive(Clone, Default)]
pub(super) struct InFlight {
    ids: Arc<Mutex<BTreeSet<String>>>,
}

/// The place of one request; its end frees the id.
pub(super) struct Place {
    id: String,
    of: InFlight,
}

impl InFlight {
    /// Begins to serve a request; none when one of this id is being served.
    pub(super) fn enter(&self, id: &str) -> Option<Place> {
        let is_new = self.ids().insert(id.to_owned());
        is_new.then(|| Place {
            id: id.to_owned(),
            of: self.clone(),
        })
    }

    fn ids(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.of.ids().remove(&self.id);
    }
}
