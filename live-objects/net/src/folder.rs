//! How the nodes of one user on one machine find each other while one develops: by a folder.
//!
//! The folder of a cluster holds an authority (`ca.key`, `ca.pem`), made by whoever comes first,
//! and a file for each node that runs, with its address. The node keeps an exclusive lock on its
//! file for as long as it runs, which the system gives up however the process ends: a file whose
//! lock can be taken is stale, and is swept.
//!
//! Nodes *enter* one at a time: from [`Folder::enter`] to [`Entry::announce`] a node holds the
//! folder's lock. So exactly one of several that start at once finds nobody, and founds the
//! cluster, and the others find it. The folder and all in it is the user's alone.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::authority::Authority;
use crate::identity::{Identity, IdentityError};
use crate::private;

/// The folder of a cluster of this user on this machine.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// The folder of the user's cluster of this name: a lower-case word.
    pub fn of_user(cluster: &str) -> Result<Self, FolderError> {
        let is_plain = |char: char| matches!(char, 'a'..='z' | '0'..='9' | '-');
        if cluster.is_empty() || cluster.len() > NAME_BYTES_MAX || !cluster.chars().all(is_plain) {
            return Err(FolderError::Name(cluster.to_owned()));
        }
        let all = match std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty()) {
            Some(runtime) => PathBuf::from(runtime).join("logo"),
            None => std::env::temp_dir().join(format!("logo-{}", user())),
        };
        Self::at(&all)?;
        Self::at(&all.join(cluster))
    }

    /// A folder at this path, which is made if it is not there.
    pub fn at(path: &Path) -> Result<Self, FolderError> {
        private::make_folder(path).map_err(|error| FolderError::file(path, error))?;
        let folder = Self { path: path.to_owned() };
        // First, so that nothing is written where a link leads.
        if !private::is_closed(path).map_err(|error| FolderError::file(path, error))? {
            return Err(FolderError::Public(path.to_owned()));
        }
        let lock = folder.file(LOCK);
        let file = private::open(&lock).map_err(|error| FolderError::file(&lock, error))?;
        match private::is_private(path, &file) {
            Ok(true) => Ok(folder),
            Ok(false) => Err(FolderError::Public(path.to_owned())),
            Err(error) => Err(FolderError::file(path, error)),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Enters the cluster as a new node. Waits, without giving way to other tasks, while another
    /// node is between this and its [`Entry::announce`]: call it where a task may block.
    pub fn enter(&self) -> Result<Entry, FolderError> {
        let path = self.file(LOCK);
        let lock = private::open(&path).map_err(|error| FolderError::file(&path, error))?;
        lock.lock().map_err(|error| FolderError::file(&path, error))?;
        let identity = self.authority()?.issue();
        let living = self.sweep()?;
        Ok(Entry { folder: self.clone(), lock, identity, living })
    }

    fn authority(&self) -> Result<Authority, IdentityError> {
        if self.file("ca.pem").exists() {
            return Authority::load(&self.path);
        }
        Authority::found(&self.path)
    }

    /// The addresses of nodes that live; what others left behind is removed.
    fn sweep(&self) -> Result<Vec<SocketAddr>, FolderError> {
        let mut living = Vec::new();
        let entries = fs::read_dir(&self.path);
        for entry in entries.map_err(|error| FolderError::file(&self.path, error))? {
            let path = entry.map_err(|error| FolderError::file(&self.path, error))?.path();
            if path.extension().is_some_and(|extension| extension == ADDRESS) {
                living.extend(living_at(&path).map_err(|error| FolderError::file(&path, error))?);
            }
        }
        Ok(living)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

/// The address of the node whose file this is, if it lives.
fn living_at(path: &Path) -> io::Result<Option<SocketAddr>> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    match file.try_lock() {
        Ok(()) => match fs::remove_file(path) {
            // It was just ending.
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(None),
        },
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            file.read_to_string(&mut text)?;
            Ok(text.trim().parse().ok())
        }
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// A node that enters a cluster. Until it is announced or dropped no other node can enter.
#[derive(Debug)]
pub struct Entry {
    folder: Folder,
    lock: File,
    identity: Identity,
    living: Vec<SocketAddr>,
}

impl Entry {
    /// Who the node is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Where the nodes that live are reached.
    pub fn living(&self) -> &[SocketAddr] {
        &self.living
    }

    /// Whether this node is to found the cluster: nobody is there.
    pub fn is_founder(&self) -> bool {
        self.living.is_empty()
    }

    /// Tells those who enter later where this node is reached, for as long as the result lives.
    pub fn announce(self, address: SocketAddr) -> Result<Presence, FolderError> {
        let path = self.folder.file(&format!("{}.{ADDRESS}", self.identity.node()));
        let failed = |error| FolderError::file(&path, error);
        let mut file = private::open(&path).map_err(failed)?;
        file.lock().map_err(failed)?;
        file.write_all(address.to_string().as_bytes()).map_err(failed)?;
        // The address is there and locked before anybody else enters.
        drop(self.lock);
        Ok(Presence { path, _file: file })
    }
}

/// A node that runs is in its cluster's folder as long as this lives.
#[derive(Debug)]
pub struct Presence {
    path: PathBuf,
    /// Holds the lock.
    _file: File,
}

impl Drop for Presence {
    fn drop(&mut self) {
        // What stays is swept by whoever enters next.
        let _ = fs::remove_file(&self.path);
    }
}

/// Why a folder cannot be used, or was not written.
#[derive(Debug, Error)]
pub enum FolderError {
    /// The cluster's name is no folder's name.
    #[error(
        "{0:?} does not name a cluster: take 1 to {NAME_BYTES_MAX} letters a to z, digits, hyphens"
    )]
    Name(String),
    /// A file was not read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which file or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Others than this user may have written there: nothing in it can be trusted.
    #[error("{} is not this user's alone: remove it, or take its rights from others", _0.display())]
    Public(PathBuf),
    /// The authority in the folder cannot be used.
    #[error("the folder's authority: {0}")]
    Identity(#[from] IdentityError),
}

impl FolderError {
    fn file(path: &Path, source: io::Error) -> Self {
        Self::File { path: path.to_owned(), source }
    }
}

/// What tells this user's folder from another's. It need not be proof: see [`private::is_private`].
fn user() -> String {
    #[cfg(unix)]
    if let Ok(own) = fs::metadata("/proc/self") {
        return std::os::unix::fs::MetadataExt::uid(&own).to_string();
    }
    let name =
        ["USER", "LOGNAME", "USERNAME"].into_iter().find_map(|name| std::env::var(name).ok());
    let name = name.unwrap_or_default();
    name.chars().map(|char| if char.is_alphanumeric() { char } else { '-' }).collect()
}

const NAME_BYTES_MAX: usize = 64;
const LOCK: &str = "folder.lock";
/// How the names of address files end.
const ADDRESS: &str = "addr";

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[test]
    fn the_first_founds_and_the_others_find_it() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::at(&dir.path().join("cluster")).unwrap();
        let first = folder.enter().unwrap();
        assert!(first.is_founder());
        let authorities = first.identity().authorities.clone();
        let first = first.announce(address(1)).unwrap();
        let second = folder.enter().unwrap();
        assert!(!second.is_founder());
        assert_eq!(second.living(), [address(1)]);
        assert_eq!(second.identity().authorities, authorities, "one authority for all");
        let second = second.announce(address(2)).unwrap();
        drop(first);
        assert_eq!(folder.enter().unwrap().living(), [address(2)]);
        drop(second);
        assert!(folder.enter().unwrap().is_founder());
    }

    #[test]
    fn whoever_enters_at_once_finds_one_founder() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::at(&dir.path().join("cluster")).unwrap();
        let enter = |port| {
            let entry = folder.enter().unwrap();
            (entry.is_founder(), entry.announce(address(port)).unwrap())
        };
        let entered: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (1..=4).map(|port| scope.spawn(move || enter(port))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(entered.iter().filter(|(founds, _)| *founds).count(), 1);
    }

    #[test]
    fn what_a_dead_node_left_is_swept() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::at(&dir.path().join("cluster")).unwrap();
        let stale = folder.file("00.addr");
        fs::write(&stale, address(1).to_string()).unwrap();
        assert!(folder.enter().unwrap().is_founder());
        assert!(!stale.exists());
    }

    #[cfg(unix)]
    #[test]
    fn the_folder_is_the_users_alone() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cluster");
        let presence = Folder::at(&path).unwrap().enter().unwrap().announce(address(1)).unwrap();
        for entry in fs::read_dir(&path).unwrap().map(Result::unwrap) {
            let mode = entry.metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "{:?}", entry.path());
        }
        drop(presence);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(matches!(Folder::at(&path), Err(FolderError::Public(_))));
    }

    #[cfg(unix)]
    #[test]
    fn nothing_is_written_where_a_link_leads() {
        let dir = tempfile::tempdir().unwrap();
        let (target, link) = (dir.path().join("target"), dir.path().join("link"));
        private::make_folder(&target).unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        assert!(matches!(Folder::at(&link), Err(FolderError::Public(_))));
        assert_eq!(fs::read_dir(&target).unwrap().count(), 0);
    }

    #[test]
    fn a_name_that_leads_elsewhere_is_refused() {
        for name in ["", "..", "a/b", "A", &"a".repeat(NAME_BYTES_MAX + 1)] {
            assert!(matches!(Folder::of_user(name), Err(FolderError::Name(_))), "{name:?}");
        }
    }
}
