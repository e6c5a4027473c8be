//! Files and folders that only their owner can read.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Makes a folder, and those above it, of the owner alone. One that is there stays as it is.
pub(crate) fn make_folder(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Opens a file of the owner alone to read and write, and makes it if it is not there.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Writes a file of the owner alone: wholly, or not at all. A draft that was left behind when a
/// process was killed is in nobody's way.
pub(crate) fn write(path: &Path, text: &str) -> io::Result<()> {
    // What is written can be read again.
    expect_bounded(text)?;
    let (draft, mut file) = draft_of(path)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    let written = written.and_then(|()| fs::rename(&draft, path));
    if written.is_err() {
        // What went wrong first is what is told.
        let _ = remove(&draft);
    }
    written
}

/// A new file beside this one, which nobody else writes.
fn draft_of(path: &Path) -> io::Result<(PathBuf, File)> {
    static DRAFTS: AtomicU64 = AtomicU64::new(0);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    for _ in 0..DRAFT_TRIES_MAX {
        let (process, count) = (std::process::id(), DRAFTS.fetch_add(1, Ordering::Relaxed));
        let mut draft = path.as_os_str().to_owned();
        draft.push(format!(".{process}-{count}.new"));
        match options.open(&draft) {
            // One that a process with this number left behind.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            file => return Ok((draft.into(), file?)),
        }
    }
    Err(io::Error::new(
        io::ErrorKind::AlreadyExists,
        "too many drafts were left behind: remove the files beside it that end in .new",
    ))
}

/// Reads a regular file of bounded size, as text.
pub(crate) fn read(path: &Path) -> io::Result<String> {
    // Asked before it is opened: to open a pipe is to wait for whoever writes to it.
    if !fs::metadata(path)?.is_file() {
        let why = "it is no regular file: put one in its place";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    let mut text = String::new();
    File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    expect_bounded(&text)?;
    Ok(text)
}

fn expect_bounded(text: &str) -> io::Result<()> {
    if text.len() as u64 > FILE_BYTES_MAX {
        let why = "more than 16 MiB is no key, no certificate and no list of revoked nodes";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    Ok(())
}

/// Removes a file, if it is there.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Whether the folder is one, no link, and is open to nobody but its owner.
pub(crate) fn is_closed(folder: &Path) -> io::Result<bool> {
    let folder = fs::symlink_metadata(folder)?;
    Ok(folder.is_dir() && rights_of_others(&folder) == 0)
}

/// Whether the folder [is closed](is_closed), and belongs to whoever owns `file`, which this
/// process made.
#[cfg(unix)]
pub(crate) fn is_private(folder: &Path, file: &File) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let owner = fs::symlink_metadata(folder)?.uid();
    Ok(is_closed(folder)? && owner == file.metadata()?.uid())
}

/// Folders of a user are the user's own where there are no modes.
#[cfg(not(unix))]
pub(crate) fn is_private(folder: &Path, _: &File) -> io::Result<bool> {
    is_closed(folder)
}

/// What others than the owner may do: of the group in the second digit, of all in the last.
#[cfg(unix)]
pub(crate) fn rights_of_others(of: &Metadata) -> u32 {
    std::os::unix::fs::MetadataExt::mode(of) & 0o077
}

/// Nobody else has rights where there are no modes.
#[cfg(not(unix))]
pub(crate) fn rights_of_others(_: &Metadata) -> u32 {
    0
}

const DRAFT_TRIES_MAX: usize = 1000;
/// Lists of some 300,000 revoked nodes.
const FILE_BYTES_MAX: u64 = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_writes_one_file_at_once_does_not_share_a_draft() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let texts: Vec<_> = (0..8).map(|n: u32| n.to_string().repeat(10_000)).collect();
        std::thread::scope(|scope| {
            for text in &texts {
                scope.spawn(|| (0..20).for_each(|_| write(&path, text).unwrap()));
            }
        });
        assert!(texts.contains(&read(&path).unwrap()), "one of them, whole");
        let left = fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(left, 1, "no draft is left behind");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_is_no_file_of_sensible_size_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let says = |text: &str| {
            let error = read(&path).unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        };
        std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
        says("no regular file");
        remove(&path).unwrap();
        let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
        says("no regular file");
        remove(&path).unwrap();
        let longest = "a".repeat(16 << 20);
        write(&path, &longest).unwrap();
        assert_eq!(read(&path).unwrap(), longest);
        let longer = longest + "a";
        write(&path, &longer).unwrap_err();
        fs::write(&path, longer).unwrap();
        says("more than 16 MiB");
    }
}
