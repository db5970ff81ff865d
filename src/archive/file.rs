//! One archive file: written under a name of its own, renamed when it is on the disk.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;

use crate::platform::create_private_file;
use crate::platform::files::{Lock, try_lock};

/// A file that is being written ends so. Whoever writes it holds a lock on it.
const PART_ENDING: &str = ".part";
const ENDING: &str = ".jsonl.gz";
const BEGIN: &str = "processes-";
/// Gathered before it is compressed.
const BUFFER_BYTES: usize = 64 * 1024;
/// Between the fastest and the usual one: text takes a tenth more than at the usual level, in half the time.
const LEVEL: u32 = 4;

/// A file that is being written. Dropped before [`ArchiveFile::finish`] it leaves nothing.
pub struct ArchiveFile {
    out: Option<BufWriter<GzEncoder<Counted>>>,
    part: PathBuf,
    path: PathBuf,
}

/// Counts what reaches the file.
struct Counted {
    file: File,
    bytes: u64,
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl ArchiveFile {
    /// Begins a file that no other has the name of: that of this second, and the first free number.
    pub fn create(directory: &Path) -> io::Result<Self> {
        let second = Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
        for number in 1_u32.. {
            let name = format!("{BEGIN}{second}-{number:03}{ENDING}");
            let (path, part) = (directory.join(&name), directory.join(format!(".{name}{PART_ENDING}")));
            let file = match create_private_file(&part) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                other => other?,
            };
            // Whoever has had this name before has given it to the file by now, or has gone.
            if path.exists() || !try_lock(&file, Lock::Exclusive)? {
                fs::remove_file(&part)?;
                continue;
            }
            let gz = GzEncoder::new(Counted { file, bytes: 0 }, Compression::new(LEVEL));
            return Ok(Self { out: Some(BufWriter::with_capacity(BUFFER_BYTES, gz)), part, path });
        }
        Err(io::Error::other("no number is free"))
    }

    /// Bytes that have reached the file so far.
    pub fn bytes(&self) -> u64 {
        self.out.as_ref().map_or(0, |it| it.get_ref().get_ref().bytes)
    }

    /// Its name once it is finished.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Puts it on the disk, name and all.
    pub fn finish(mut self) -> io::Result<PathBuf> {
        if let Some(out) = self.out.take() {
            let gz = out.into_inner().map_err(io::IntoInnerError::into_error)?;
            gz.finish()?.file.sync_all()?;
        }
        fs::rename(&self.part, &self.path)?;
        sync_directory(&self.path)?;
        Ok(self.path.clone())
    }
}

impl Write for ArchiveFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.as_mut().map_or(Ok(0), |out| out.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.as_mut().map_or(Ok(()), Write::flush)
    }
}

impl Drop for ArchiveFile {
    fn drop(&mut self) {
        // Its buffer is not worth writing any more.
        if let Some(out) = self.out.take() {
            drop(out.into_parts());
        }
        match fs::remove_file(&self.part) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                log::warn!("{} stays until the next archive is written: {error}", self.part.display());
            }
            _ => {}
        }
    }
}

/// The new name of a file is on the disk only when its directory is.
fn sync_directory(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

/// Removes what writers have left that were killed, and sees whether files can be made.
pub fn prepare(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        let is_part =
            name.to_str().is_some_and(|it| it.starts_with(&format!(".{BEGIN}")) && it.ends_with(PART_ENDING));
        if !is_part {
            continue;
        }
        let path = directory.join(&name);
        match File::open(&path) {
            Ok(file) if try_lock(&file, Lock::Exclusive)? => fs::remove_file(&path)?,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    ArchiveFile::create(directory).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn scratch(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("po-archive-{name}-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        path
    }

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        entries.map(|it| it.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_file_has_its_name_when_it_is_whole_and_none_before() {
        let directory = scratch("whole");
        let mut first = ArchiveFile::create(&directory).unwrap();
        let mut second = ArchiveFile::create(&directory).unwrap();
        assert_ne!(first.path(), second.path());
        first.write_all(b"a line\n").unwrap();
        second.write_all(b"another\n").unwrap();
        assert!(names(&directory).iter().all(|name| name.ends_with(PART_ENDING)));
        drop(second);
        let path = first.finish().unwrap();
        assert_eq!(names(&directory), [path.file_name().unwrap().to_str().unwrap()]);
        let mut text = String::new();
        flate2::read::GzDecoder::new(File::open(&path).unwrap()).read_to_string(&mut text).unwrap();
        assert_eq!(text, "a line\n");
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn what_dead_writers_have_left_goes_and_what_living_ones_write_stays() {
        let directory = scratch("dead");
        let living = ArchiveFile::create(&directory).unwrap();
        let dead = directory.join(".processes-20200101T000000Z-001.jsonl.gz.part");
        fs::write(&dead, "half").unwrap();
        fs::write(directory.join("notes.part"), "not ours").unwrap();
        prepare(&directory).unwrap();
        assert!(!dead.exists() && directory.join("notes.part").exists());
        assert!(living.finish().unwrap().exists());
        fs::remove_dir_all(directory).unwrap();
    }
}
