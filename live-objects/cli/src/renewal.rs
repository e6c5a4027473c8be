//! The identity of a node that runs, as the files say: `logo node` looks whether they changed.

use std::future::pending;
use std::path::PathBuf;
use std::time::Duration;

use logo::Identity;
use tokio::time::{Interval, MissedTickBehavior, interval};

/// What the files of an identity say, or why they cannot be used.
type Seen = Result<Identity, String>;

/// The folder of an identity, and what was seen there last.
pub(crate) struct Renewal {
    folder: PathBuf,
    last: Seen,
    looks: Interval,
}

impl Renewal {
    /// For a node that has this identity from this folder. Needs a tokio runtime.
    pub(crate) fn new(folder: PathBuf, identity: Identity) -> Self {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { folder, last: Ok(identity), looks }
    }

    /// Looks until there is something else than at the last look. May be dropped and asked again.
    async fn next(&mut self) -> Seen {
        loop {
            self.looks.tick().await;
            let folder = self.folder.clone();
            let look = move || Identity::load(&folder).map_err(|error| error.to_string());
            let seen = tokio::task::spawn_blocking(look).await.expect("reading does not panic");
            if seen != self.last {
                self.last = seen.clone();
                return seen;
            }
        }
    }
}

/// What is seen next in the folder, if there is one to look at.
pub(crate) async fn next(renewal: &mut Option<Renewal>) -> Seen {
    match renewal {
        Some(renewal) => renewal.next().await,
        None => pending().await,
    }
}

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use logo::Authority;

    #[tokio::test(start_paused = true)]
    async fn what_changes_is_seen_once() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path().to_owned();
        let authority = Authority::create();
        let (first, second) = (authority.issue(), authority.issue());
        first.save(&folder).unwrap();
        let mut renewal = Some(Renewal::new(folder.clone(), first.clone()));
        let quiet = tokio::time::timeout(LOOK * 3, next(&mut renewal)).await;
        assert!(quiet.is_err(), "nothing has changed");
        std::fs::write(folder.join("node.pem"), "").unwrap();
        let error = next(&mut renewal).await.unwrap_err();
        assert!(error.contains("node.pem cannot be used"), "{error}");
        let quiet = tokio::time::timeout(LOOK * 3, next(&mut renewal)).await;
        assert!(quiet.is_err(), "it is told once");
        second.save(&folder).unwrap();
        assert_eq!(next(&mut renewal).await.unwrap(), second);
    }
}
