//! Directories that a task which has given up root was just found to be allowed to search.
//!
//! Programs go through one directory name by name, and each name would ask for every directory above it again. What
//! the guest changes ends what is known at once; what somebody else changes on the host is seen after [`LIFE`].

use super::Cred;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long an answer is believed.
const LIFE: Duration = Duration::from_millis(5);
/// Directories that are known at a time.
const LEN: usize = 16;

/// See the module. Each tracer thread has one.
#[derive(Debug, Default)]
pub struct Searchable {
    /// Whose answers these are.
    cred: Option<Arc<Cred>>,
    /// How often the guest has changed something.
    epoch: u64,
    paths: Vec<(Vec<u8>, Instant)>,
    next: usize,
}

impl Searchable {
    /// Forgets what is another's, or was before a change.
    fn turn_to(&mut self, cred: &Arc<Cred>, epoch: u64) {
        let same = self.cred.as_ref().is_some_and(|known| Arc::ptr_eq(known, cred)) && self.epoch == epoch;
        if !same {
            self.paths.clear();
            (self.cred, self.epoch, self.next) = (Some(Arc::clone(cred)), epoch, 0);
        }
    }

    /// Whether a task with these credentials may search the directory at this host path.
    pub fn knows(&mut self, cred: &Arc<Cred>, epoch: u64, path: &[u8]) -> bool {
        self.turn_to(cred, epoch);
        self.paths.iter().any(|(known, since)| known == path && since.elapsed() < LIFE)
    }

    /// It may.
    pub fn learn(&mut self, cred: &Arc<Cred>, epoch: u64, path: &[u8]) {
        self.turn_to(cred, epoch);
        if let Some((_, since)) = self.paths.iter_mut().find(|(known, _)| known == path) {
            *since = Instant::now();
        } else if self.paths.len() < LEN {
            self.paths.push((path.to_vec(), Instant::now()));
        } else {
            self.paths[self.next] = (path.to_vec(), Instant::now());
            self.next = (self.next + 1) % LEN;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_end_with_a_change_and_with_time() {
        let (one, two) = (Arc::new(Cred::new(7, 7)), Arc::new(Cred::new(7, 7)));
        let mut all = Searchable::default();
        all.learn(&one, 0, b"/a\0");
        assert!(all.knows(&one, 0, b"/a\0"));
        assert!(!all.knows(&one, 0, b"/b\0"));
        assert!(!all.knows(&one, 1, b"/a\0"), "something has changed");
        all.learn(&one, 1, b"/a\0");
        assert!(!all.knows(&two, 1, b"/a\0"), "another's");
        (0..100).for_each(|i| all.learn(&one, 1, format!("/{i}\0").as_bytes()));
        assert!(all.knows(&one, 1, b"/99\0") && !all.knows(&one, 1, b"/0\0") && all.paths.len() == LEN);
        std::thread::sleep(2 * LIFE);
        assert!(!all.knows(&one, 1, b"/99\0"));
    }
}
