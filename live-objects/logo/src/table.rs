//! A replicated table of texts, for whoever has no state of their own to write.

use live_objects::{Frozen, Map, Member, RestoreError, State};
use live_objects_derive::Live;
use serde::{Deserialize, Serialize};

/// Texts by key, the same at every holder: `Replicated<Table>`.
#[derive(Default)]
pub struct Table(Map<String, String>);

/// What can be done to a [`Table`].
#[derive(Clone, PartialEq, Eq, Debug, Live, Serialize, Deserialize)]
#[live(crate = "live_objects", name = "logo.TableUpdate")]
pub enum TableUpdate {
    /// Gives the key this text.
    Set {
        /// Which key.
        key: String,
        /// What it is to hold.
        text: String,
    },
    /// Takes the key out.
    Remove {
        /// Which key.
        key: String,
    },
}

impl Table {
    /// The text of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// All keys and their texts, in the order of the keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, text)| (key.as_str(), text.as_str()))
    }
}

impl State for Table {
    type Update = TableUpdate;
    /// What the key held before.
    type Reply = Option<String>;

    fn apply(&mut self, _by: Member, update: TableUpdate) -> Option<String> {
        match update {
            TableUpdate::Set { key, text } => {
                let before = self.0.get(&key).cloned();
                self.0.insert(key, text);
                before
            }
            TableUpdate::Remove { key } => {
                let before = self.0.get(&key).cloned();
                self.0.remove(&key);
                before
            }
        }
    }

    fn freeze(&self) -> Box<dyn Frozen> {
        Box::new(self.0.clone())
    }

    fn restore(&mut self, record: &[u8]) -> Result<(), RestoreError> {
        self.0.restore(record)
    }
}
