//! The disk of a node: a folder, with a folder in it for each module that keeps files.
//!
//! Each module has a thread of its own, begun with its first work, which does what it is asked in
//! order and blocks for as long as it takes: a slow disk holds up nobody but the module that waits
//! for it. How much waits is bounded by the stack. A file is `<folder>/<module>/<number>.bytes`,
//! the number in sixteen hexadecimal digits.
//!
//! One process at a time has the folder: it holds a lock there, which the system gives up however
//! the process ends.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use bytes::Bytes;
use live_objects::{Arrival, DiskAct, DiskError, DiskWork};
use thiserror::Error;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tracing::warn;

use crate::private;

/// What a node keeps on disk.
pub(crate) struct Disk {
    folder: Option<Folder>,
    workers: BTreeMap<&'static str, Worker>,
    outlet: UnboundedSender<Arrival>,
    done: UnboundedReceiver<Arrival>,
    /// What was done and is yet to be told.
    waiting: Option<Arrival>,
}

struct Folder {
    path: PathBuf,
    /// Held by every thread that writes there.
    lock: Arc<File>,
}

struct Worker {
    works: Sender<DiskWork>,
    thread: JoinHandle<()>,
}

impl Disk {
    /// A disk at this folder, which is made if it is not there; without a folder, one on which
    /// everything fails.
    pub(crate) fn open(path: Option<&Path>) -> Result<Self, DiskFolderError> {
        let folder = path.map(Folder::open).transpose()?;
        let (outlet, done) = mpsc::unbounded_channel();
        Ok(Self { folder, workers: BTreeMap::new(), outlet, done, waiting: None })
    }

    pub(crate) fn ask(&mut self, module: &'static str, work: DiskWork) {
        let Some(folder) = &self.folder else {
            return tell(&self.outlet, module, work.tag, Err(DiskError::NoFolder));
        };
        let worker = self.workers.entry(module).or_insert_with(|| {
            let (works, asked) = channel();
            let (files, outlet) = (Files::at(folder, module), self.outlet.clone());
            let thread = std::thread::spawn(move || work_off(module, &asked, files, &outlet));
            Worker { works, thread }
        });
        worker.works.send(work).expect("a worker ends when it is asked no more");
    }

    /// Waits until something is done.
    pub(crate) async fn wait(&mut self) {
        if self.waiting.is_none() {
            self.waiting = self.done.recv().await;
        }
    }

    /// Tells what was done.
    pub(crate) fn tell(&mut self, arrivals: &mut Vec<Arrival>) {
        arrivals.extend(self.waiting.take());
        while let Ok(arrival) = self.done.try_recv() {
            arrivals.push(arrival);
        }
    }

    /// Whether something was done that is yet to be told.
    pub(crate) fn is_waiting(&self) -> bool {
        self.waiting.is_some() || !self.done.is_empty()
    }

    /// Waits until all is done that was asked.
    pub(crate) async fn close(self) {
        let threads: Vec<_> = self.workers.into_values().map(|worker| worker.thread).collect();
        let joined = tokio::task::spawn_blocking(|| {
            threads.into_iter().for_each(|thread| thread.join().expect("a worker does not panic"));
        });
        joined.await.expect("joining does not panic");
    }
}

impl Folder {
    fn open(path: &Path) -> Result<Self, DiskFolderError> {
        let failed = |source| DiskFolderError::File { path: path.to_owned(), source };
        private::make_folder(path).map_err(failed)?;
        let lock = private::open(&path.join(LOCK)).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), lock: Arc::new(lock) }),
            Err(TryLockError::WouldBlock) => Err(DiskFolderError::InUse(path.to_owned())),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }
}

/// Does what a module asks, until it can ask no more.
fn work_off(
    module: &'static str,
    works: &Receiver<DiskWork>,
    mut files: Files,
    outlet: &UnboundedSender<Arrival>,
) {
    let is_plain = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
    let mut failed = None;
    if !module.bytes().all(is_plain) {
        let text = format!("the module {module:?} has a name that no folder can have");
        failed = Some(DiskError::Failed(text));
    }
    for DiskWork { file, act, tag } in works {
        let result = match &failed {
            Some(error) => Err(error.clone()),
            None => files.act(file, act).map_err(|error| {
                warn!(module, file, %error, "the disk failed");
                DiskError::Failed(format!("{}: {error}", files.path(file).display()))
            }),
        };
        failed = result.as_ref().err().cloned();
        tell(outlet, module, tag, result);
    }
}

fn tell(
    outlet: &UnboundedSender<Arrival>,
    module: &'static str,
    tag: u64,
    result: Result<Bytes, DiskError>,
) {
    // If the loop has ended nobody wants to know.
    let _ = outlet.send(Arrival::Disk { module, tag, result });
}

/// The files of one module.
struct Files {
    folder: PathBuf,
    open: BTreeMap<u64, File>,
    _lock: Arc<File>,
}

impl Files {
    fn at(folder: &Folder, module: &'static str) -> Self {
        let _lock = Arc::clone(&folder.lock);
        Self { folder: folder.path.join(module), open: BTreeMap::new(), _lock }
    }

    fn path(&self, file: u64) -> PathBuf {
        self.folder.join(format!("{file:016x}.bytes"))
    }

    fn act(&mut self, file: u64, act: DiskAct) -> io::Result<Bytes> {
        match act {
            DiskAct::Append(bytes) => {
                let file = self.file(file)?;
                file.seek(SeekFrom::End(0))?;
                file.write_all(&bytes)?;
            }
            DiskAct::Sync => self.file(file)?.sync_data()?,
            DiskAct::Read { offset, bytes_max } => return self.read(file, offset, bytes_max),
        }
        Ok(Bytes::new())
    }

    fn read(&mut self, file: u64, offset: u64, bytes_max: usize) -> io::Result<Bytes> {
        if !self.open.contains_key(&file) && !self.path(file).try_exists()? {
            return Ok(Bytes::new());
        }
        let file = self.file(file)?;
        let len = file.metadata()?.len().saturating_sub(offset);
        let len = usize::try_from(len).map_or(bytes_max, |len| len.min(bytes_max));
        let mut bytes = vec![0; len];
        file.seek(SeekFrom::Start(offset))?;
        file.read_exact(&mut bytes)?;
        Ok(bytes.into())
    }

    /// The file, made if it is not there: once something in it is safe, so is its name.
    fn file(&mut self, number: u64) -> io::Result<&mut File> {
        if !self.open.contains_key(&number) {
            let path = self.path(number);
            let is_new = !path.try_exists()?;
            private::make_folder(&self.folder)?;
            self.open.insert(number, private::open(&path)?);
            if is_new {
                sync_folder(&self.folder)?;
                self.folder.parent().map_or(Ok(()), sync_folder)?;
            }
        }
        Ok(self.open.get_mut(&number).expect("it was just opened"))
    }
}

/// Makes the names in a folder safe.
#[cfg(unix)]
fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Other systems keep names by themselves, and open no folders.
#[cfg(not(unix))]
fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}

/// Why a folder cannot be a node's disk.
#[derive(Debug, Error)]
pub enum DiskFolderError {
    /// It was not made or opened.
    #[error("{}: {source}", path.display())]
    File {
        /// Which folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Another node has it.
    #[error("{} is in use by another node: a node has a folder of its own", _0.display())]
    InUse(PathBuf),
}

const LOCK: &str = "disk.lock";
