//! Files and folders that only their owner can read.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

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

/// Writes a file of the owner alone: wholly, or not at all.
pub(crate) fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(".new");
    remove(draft.as_ref())?;
    let mut file = open(draft.as_ref())?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&draft, path)
}

/// Removes a file, if it is there.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Whether the folder is one, no link, belongs to whoever owns `file`, which this process made, and
/// is open to nobody else.
#[cfg(unix)]
pub(crate) fn is_private(folder: &Path, file: &File) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let (folder, file) = (fs::symlink_metadata(folder)?, file.metadata()?);
    Ok(folder.is_dir() && folder.uid() == file.uid() && folder.mode() & 0o077 == 0)
}

/// Folders of a user are the user's own where there are no modes.
#[cfg(not(unix))]
pub(crate) fn is_private(folder: &Path, _: &File) -> io::Result<bool> {
    Ok(fs::symlink_metadata(folder)?.is_dir())
}
