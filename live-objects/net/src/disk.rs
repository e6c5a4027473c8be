//! The disk of a node: a folder, with a folder in it for each module that keeps files.
//!
//! Each module has a thread of its own, begun with its first work, which does what it is asked in
//! order and blocks for as long as it takes: a slow disk holds up nobody but the module that waits
//! for it, and a node that stops. How much waits is bounded by the stack. A file is
//! `<folder>/<module>/<number>.bytes`, the number in sixteen hexadecimal digits.
//!
//! One node at a time has the folder: it holds a lock there, which the system gives up however the
//! process ends. A node that is dropped, and not stopped, holds it until what it asked is done.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::{File, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use bytes::Bytes;
use live_objects::{Arrival, DiskAct, DiskError, DiskWork, Tag};
use thiserror::Error;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tracing::warn;

use crate::private;

/// What a node keeps on disk.
pub(crate) struct Disk {
    place: Option<Place>,
    workers: BTreeMap<&'static str, Worker>,
    outlet: UnboundedSender<Arrival>,
    done: UnboundedReceiver<Arrival>,
    /// What was done and is yet to be told.
    waiting: Vec<Arrival>,
}

/// The folder, which is this node's alone.
struct Place {
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
        let place = path.map(Place::take).transpose()?;
        let (outlet, done) = mpsc::unbounded_channel();
        Ok(Self { place, workers: BTreeMap::new(), outlet, done, waiting: Vec::new() })
    }

    pub(crate) fn ask(&mut self, module: &'static str, work: DiskWork) {
        let tag = work.tag;
        if let Err(error) = self.hand_on(module, work) {
            tell(&self.outlet, module, tag, Err(error));
        }
    }

    fn hand_on(&mut self, module: &'static str, work: DiskWork) -> Result<(), DiskError> {
        let place = self.place.as_ref().ok_or(DiskError::NoFolder)?;
        let worker = match self.workers.entry(module) {
            Entry::Occupied(worker) => worker.into_mut(),
            Entry::Vacant(vacant) => {
                let worker = Worker::start(module, place, self.outlet.clone());
                let failed = |error: io::Error| DiskError::Failed(format!("no thread: {error}"));
                vacant.insert(worker.map_err(failed)?)
            }
        };
        worker.works.send(work).expect("a worker ends when it is asked no more");
        Ok(())
    }

    /// Waits until something is done.
    pub(crate) async fn wait(&mut self) {
        if self.waiting.is_empty() {
            self.done.recv_many(&mut self.waiting, BATCH_MAX).await;
        }
    }

    /// Tells what was done.
    pub(crate) fn tell(&mut self, arrivals: &mut Vec<Arrival>) {
        arrivals.append(&mut self.waiting);
        while let Ok(arrival) = self.done.try_recv() {
            arrivals.push(arrival);
        }
    }

    /// Whether something was done that is yet to be told.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty() || !self.done.is_empty()
    }

    /// Waits until all is done that was asked, for as long as the disk takes.
    pub(crate) async fn close(self) {
        let threads: Vec<_> = self.workers.into_values().map(|worker| worker.thread).collect();
        let joined = tokio::task::spawn_blocking(|| {
            threads.into_iter().for_each(|thread| thread.join().expect("a worker does not panic"));
        });
        joined.await.expect("joining does not panic");
    }
}

impl Place {
    fn take(path: &Path) -> Result<Self, DiskFolderError> {
        let failed = |source| DiskFolderError::File { path: path.to_owned(), source };
        // A relative path would lead elsewhere if the process went elsewhere.
        let path = std::path::absolute(path).map_err(failed)?;
        let made = path.ancestors().take_while(|above| !above.exists());
        let above: Vec<PathBuf> = made.filter_map(Path::parent).map(Path::to_owned).collect();
        private::make_folder(&path).map_err(failed)?;
        // The names of those that were just made.
        above.iter().try_for_each(|above| sync_folder(above)).map_err(failed)?;
        let lock = private::open(&path.join(LOCK)).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, lock: Arc::new(lock) }),
            Err(TryLockError::WouldBlock) => Err(DiskFolderError::InUse(path)),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }
}

impl Worker {
    fn start(
        module: &'static str,
        place: &Place,
        outlet: UnboundedSender<Arrival>,
    ) -> io::Result<Self> {
        let (works, asked) = channel();
        let files = Files::at(place, module);
        let thread = std::thread::Builder::new().name(format!("disk of {module}"));
        let thread = thread.spawn(move || work_off(module, &asked, files, &outlet))?;
        Ok(Self { works, thread })
    }
}

/// Does what a module asks, until it can ask no more.
fn work_off(
    module: &'static str,
    works: &Receiver<DiskWork>,
    mut files: Files,
    outlet: &UnboundedSender<Arrival>,
) {
    let mut failed: Option<DiskError> = None;
    for DiskWork { file, act, tag } in works {
        let result = match &failed {
            Some(error) => Err(error.clone()),
            None => files.act(file, act).map_err(|error| {
                warn!(module, file, %error, "the disk failed");
                let text = format!("{}: {error}", files.path(file).display());
                match error.kind() {
                    ErrorKind::StorageFull | ErrorKind::QuotaExceeded => DiskError::Full(text),
                    _ => DiskError::Failed(text),
                }
            }),
        };
        failed = result.as_ref().err().cloned();
        tell(outlet, module, tag, result);
    }
}

fn tell(
    outlet: &UnboundedSender<Arrival>,
    module: &'static str,
    tag: Tag,
    result: Result<Bytes, DiskError>,
) {
    // If the loop has ended nobody wants to know.
    let _ = outlet.send(Arrival::Disk { module, tag, result });
}

/// The files of one module.
struct Files {
    folder: PathBuf,
    /// At most [`FILES_OPEN_MAX`], and those that hold what was not synced.
    open: BTreeMap<u64, Open>,
    _lock: Arc<File>,
}

struct Open {
    file: File,
    /// Something was appended and not synced. Such a file stays open: what fails in writing it out
    /// is told to whoever has it open.
    is_dirty: bool,
}

impl Files {
    fn at(place: &Place, module: &'static str) -> Self {
        let _lock = Arc::clone(&place.lock);
        Self { folder: place.path.join(module), open: BTreeMap::new(), _lock }
    }

    fn path(&self, file: u64) -> PathBuf {
        self.folder.join(format!("{file:016x}.bytes"))
    }

    fn act(&mut self, file: u64, act: DiskAct) -> io::Result<Bytes> {
        match act {
            DiskAct::Append(bytes) => {
                let open = self.file(file)?;
                open.is_dirty = true;
                open.file.seek(SeekFrom::End(0))?;
                open.file.write_all(&bytes)?;
            }
            DiskAct::Sync => {
                let open = self.file(file)?;
                open.file.sync_data()?;
                open.is_dirty = false;
            }
            DiskAct::Read { offset, bytes_max } => return self.read(file, offset, bytes_max),
        }
        Ok(Bytes::new())
    }

    fn read(&mut self, file: u64, offset: u64, bytes_max: usize) -> io::Result<Bytes> {
        if !self.open.contains_key(&file) && !self.path(file).try_exists()? {
            return Ok(Bytes::new());
        }
        let file = &mut self.file(file)?.file;
        let len = file.metadata()?.len().saturating_sub(offset);
        let len = usize::try_from(len).map_or(bytes_max, |len| len.min(bytes_max));
        if len == 0 {
            return Ok(Bytes::new());
        }
        let mut bytes = vec![0; len];
        file.seek(SeekFrom::Start(offset))?;
        file.read_exact(&mut bytes)?;
        Ok(bytes.into())
    }

    /// The file, made if it is not there. Its name is made safe each time that it is opened: the
    /// life that made it may have been cut short before it was.
    fn file(&mut self, number: u64) -> io::Result<&mut Open> {
        if !self.open.contains_key(&number) {
            self.close_some();
            private::make_folder(&self.folder)?;
            let file = private::open(&self.path(number))?;
            sync_folder(&self.folder)?;
            self.folder.parent().map_or(Ok(()), sync_folder)?;
            self.open.insert(number, Open { file, is_dirty: false });
        }
        Ok(self.open.get_mut(&number).expect("it was just opened"))
    }

    /// Makes room for one file more to be open.
    fn close_some(&mut self) {
        while self.open.len() >= FILES_OPEN_MAX {
            let clean = self.open.iter().find(|(_, open)| !open.is_dirty).map(|(file, _)| *file);
            let Some(file) = clean else { break };
            self.open.remove(&file);
        }
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

/// Why a folder cannot be a node's disk. The fault is the folder's; nothing was written.
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
    #[error(
        "{} is in use by another node, or by one that was dropped and still writes: a node has a \
         folder of its own",
        _0.display()
    )]
    InUse(PathBuf),
}

const LOCK: &str = "disk.lock";
/// How many files of a module are open, unless more hold what was not synced.
const FILES_OPEN_MAX: usize = 64;
/// How many things that are done are taken in at once.
const BATCH_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    async fn ask(disk: &mut Disk, file: u64, act: DiskAct) -> Result<Bytes, DiskError> {
        disk.ask("diary", DiskWork { file, act, tag: Tag(7) });
        disk.wait().await;
        let mut arrivals = Vec::new();
        disk.tell(&mut arrivals);
        match arrivals.pop() {
            Some(Arrival::Disk { module: "diary", tag: Tag(7), result }) => result,
            other => panic!("{other:?}"),
        }
    }

    fn append(bytes: &'static [u8]) -> DiskAct {
        DiskAct::Append(bytes.into())
    }

    fn read(offset: u64, bytes_max: usize) -> DiskAct {
        DiskAct::Read { offset, bytes_max }
    }

    /// As the simulated disk does.
    #[tokio::test]
    async fn reads_what_is_there_and_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let mut disk = Disk::open(Some(&folder.path().join("made/on/the/way"))).unwrap();
        assert_eq!(ask(&mut disk, 0, read(0, 9)).await.unwrap(), "");
        ask(&mut disk, 0, append(b"abc")).await.unwrap();
        ask(&mut disk, 0, append(b"def")).await.unwrap();
        for (offset, bytes_max, expected) in
            [(1, 4, "bcde"), (4, 9, "ef"), (7, 9, ""), (1 << 63, 9, ""), (u64::MAX, 9, "")]
        {
            let bytes = ask(&mut disk, 0, read(offset, bytes_max)).await;
            assert_eq!(bytes.unwrap(), expected, "{bytes_max} from {offset}");
        }
        disk.close().await;
    }

    #[test]
    fn many_files_are_kept_and_few_are_open() {
        let folder = tempfile::tempdir().unwrap();
        let mut files = Files::at(&Place::take(folder.path()).unwrap(), "diary");
        let count = FILES_OPEN_MAX as u64 * 2;
        for file in 0..count {
            files.act(file, append(b"abc")).unwrap();
        }
        assert_eq!(files.open.len(), FILES_OPEN_MAX * 2, "none of them is safe yet");
        for file in 0..count {
            files.act(file, DiskAct::Sync).unwrap();
        }
        files.act(count, append(b"abc")).unwrap();
        assert_eq!(files.open.len(), FILES_OPEN_MAX);
        for file in (0..=count).rev() {
            assert_eq!(files.act(file, read(0, 9)).unwrap(), "abc");
        }
        assert_eq!(files.open.len(), FILES_OPEN_MAX);
    }
}
