//! Who may write in the folder of an authority or of an identity: one at a time.
//!
//! Whoever changes such a folder takes its *turn*, an exclusive lock on a file in it, which the
//! system gives up however the process ends. From reading what is there to writing what is new the
//! turn is held, so nothing that another has written meanwhile is lost. There is no other way to
//! write there. Readers take no turn: each file is written wholly or not at all.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::identity::IdentityError;
use crate::private;

/// While this lives nobody else writes in the folder.
pub(crate) struct Turn {
    folder: PathBuf,
    /// Holds the lock.
    _lock: File,
}

impl Turn {
    /// Waits for the turn in a folder, which is made if it is not there.
    pub(crate) fn make(folder: &Path) -> Result<Self, IdentityError> {
        private::make_folder(folder).map_err(|error| IdentityError::file(folder, error))?;
        Self::take(folder)
    }

    /// Waits for the turn in a folder that is there.
    pub(crate) fn take(folder: &Path) -> Result<Self, IdentityError> {
        let path = folder.join(LOCK);
        let lock = private::open(&path).and_then(|file| file.lock().map(|()| file));
        let lock = lock.map_err(|error| IdentityError::file(&path, error))?;
        Ok(Self { folder: folder.to_owned(), _lock: lock })
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether there is something of this name, be it a link that leads nowhere.
    pub(crate) fn holds(&self, file: &str) -> Result<bool, IdentityError> {
        let path = self.folder.join(file);
        match fs::symlink_metadata(&path) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(IdentityError::file(&path, error)),
        }
    }

    /// Writes these files one after another. A file without a text is removed.
    pub(crate) fn save(&self, files: &[(&str, Option<&str>)]) -> Result<(), IdentityError> {
        for (file, text) in files {
            let path = self.folder.join(file);
            let saved = match text {
                Some(text) => private::write(&path, text),
                None => private::remove(&path),
            };
            saved.map_err(|error| IdentityError::file(&path, error))?;
        }
        Ok(())
    }

    /// As [`Turn::save`] for one file, in a folder in this one, which is made if it is not there.
    pub(crate) fn save_in(&self, inner: &str, file: &str, text: &str) -> Result<(), IdentityError> {
        let inner = self.folder.join(inner);
        let path = inner.join(file);
        let saved = private::make_folder(&inner).and_then(|()| private::write(&path, text));
        saved.map_err(|error| IdentityError::file(&path, error))
    }
}

/// The file whose lock is the turn. It stays when the turn is over.
pub(crate) const LOCK: &str = "cert.lock";
