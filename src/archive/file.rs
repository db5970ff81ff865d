//! One archive file: written under a name of its own, renamed when it is on the disk.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::MetadataExt;
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
            // Whoever cleans up at this moment takes what is not locked yet for a dead writer's: the file goes, and another may
            // be there under its name.
            if !try_lock(&file, Lock::Exclusive)? || !is_at(&file, &part)? {
                continue;
            }
            // Whoever has had this name before has given it to the file by now, or has gone.
            if fs::symlink_metadata(&path).is_ok() {
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
        let Some(out) = self.out.take() else { return Ok(self.path.clone()) };
        let written = out.into_inner().map_err(io::IntoInnerError::into_error).and_then(GzEncoder::finish);
        let renamed = written.and_then(|it| {
            it.file.sync_all()?;
            // Locked until then: whoever cleans up would take it for a dead writer's.
            fs::rename(&self.part, &self.path)
        });
        if let Err(error) = renamed {
            self.remove();
            return Err(error);
        }
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

impl ArchiveFile {
    fn remove(&self) {
        match fs::remove_file(&self.part) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                log::warn!("{} stays until the next archive is written: {error}", self.part.display());
            }
            _ => {}
        }
    }
}

impl Drop for ArchiveFile {
    fn drop(&mut self) {
        if let Some(out) = self.out.take() {
            // While it is locked: afterwards the name may be another one's.
            self.remove();
            // Its buffer is not worth writing any more.
            drop(out.into_parts());
        }
    }
}

/// Whether `path` names this very file.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(there) => {
            let ours = file.metadata()?;
            Ok((there.dev(), there.ino()) == (ours.dev(), ours.ino()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// The new name of a file is on the disk only when its directory is.
fn sync_directory(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

/// Removes what writers have left that were killed, and sees whether files can be made.
pub fn prepare(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let is_part =
            name.to_str().is_some_and(|it| it.starts_with(&format!(".{BEGIN}")) && it.ends_with(PART_ENDING));
        // Nothing else is a writer's; to open a pipe would wait for its other end.
        if !is_part || !entry.file_type().is_ok_and(|it| it.is_file()) {
            continue;
        }
        let path = directory.join(&name);
        let removed = match File::open(&path) {
            Ok(file) if try_lock(&file, Lock::Exclusive)? && is_at(&file, &path)? => fs::remove_file(&path),
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        };
        match removed {
            // Another one's, who may be writing it; or somebody else has removed it.
            Err(error)
                if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) =>
            {
                return Err(error);
            }
            _ => {}
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

    #[test]
    fn what_is_no_file_has_no_writer_and_is_left_alone() {
        let directory = scratch("odd");
        let name = |number| directory.join(format!(".processes-20200101T000000Z-{number}.jsonl.gz.part"));
        fs::create_dir(name(1)).unwrap();
        std::os::unix::fs::symlink("nowhere", name(2)).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(name(3)).status().unwrap().success());
        prepare(&directory).unwrap();
        assert_eq!(names(&directory).len(), 3);
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn writers_that_begin_and_clean_up_at_once_have_files_of_their_own() {
        let directory = scratch("beside");
        let write = |writer: usize| {
            for round in 0..40 {
                prepare(&directory).unwrap();
                let mut file = ArchiveFile::create(&directory).unwrap();
                writeln!(file, "{writer} {round}").unwrap();
                file.finish().unwrap();
            }
        };
        std::thread::scope(|scope| (0..4).for_each(|writer| drop(scope.spawn(move || write(writer)))));
        let mut lines: Vec<String> = names(&directory)
            .into_iter()
            .map(|name| {
                let mut text = String::new();
                let file = File::open(directory.join(name)).unwrap();
                flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
                text
            })
            .collect();
        lines.sort();
        lines.dedup();
        assert_eq!(lines.len(), 160);
        fs::remove_dir_all(directory).unwrap();
    }
}
