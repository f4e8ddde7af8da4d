//! The only place that touches files. Everything above sees a [`Disk`], so that a test can put a
//! disk underneath that forgets, tears and fails.

use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

/// A file system, as far as the engine needs one.
pub(crate) trait Disk: Debug + Send + Sync + 'static {
    /// Makes a directory and those above it, where they are missing.
    fn make_dir(&self, path: &Path) -> io::Result<()>;
    /// The names in a directory.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;
    /// Makes a new file of `len` zeros, for which there is room then. It replaces what was there.
    fn create(&self, path: &Path, len: u64, zeros: Zeros) -> io::Result<Arc<dyn DiskFile>>;
    /// Opens a file that exists.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Renames a file. Durable after [`Disk::sync_dir`].
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file. Durable after [`Disk::sync_dir`].
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes the entries of a directory durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Takes the lock in a file and writes who holds it, or tells who does.
    fn lock(&self, path: &Path, holder: &str) -> io::Result<Result<Box<dyn DiskLock>, String>>;
}

/// How a new file has its zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Zeros {
    /// WHY: a sync that need not record a new size or extent takes half the time (129 against 234 us
    /// for 4 KiB on ext4).
    Written,
    /// Room is set aside that reads as zeros. For a log that is never synced written ones are for
    /// nothing: each byte would go to the disk twice.
    Promised,
}

/// An open file.
pub(crate) trait DiskFile: Debug + Send + Sync + 'static {
    /// Reads exactly as many bytes as fit into `into`.
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<()>;
    /// Writes all of `bytes`.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Makes all that was written durable.
    fn sync(&self) -> io::Result<()>;
    /// Its length in bytes.
    fn len(&self) -> io::Result<u64>;
}

/// A lock that is held until it is dropped.
pub(crate) trait DiskLock: Debug + Send + Sync + 'static {}

/// The file systems of this machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RealDisk;

impl Disk for RealDisk {
    fn make_dir(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let names = fs::read_dir(path)?.map(|entry| Ok(entry?.file_name()));
        let names = names.collect::<io::Result<Vec<_>>>()?;
        Ok(names.into_iter().filter_map(|name| name.into_string().ok()).collect())
    }

    fn create(&self, path: &Path, len: u64, zeros: Zeros) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(true).open(path)?;
        if zeros == Zeros::Promised {
            match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, len) {
                Ok(()) => return Ok(Arc::new(file)),
                // Not every file system can.
                Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let zeros = vec![0; 64 << 10];
        let mut at = 0;
        while at < len {
            let count = (len - at).min(zeros.len() as u64);
            file.write_all_at(zeros.get(..count as usize).unwrap_or_default(), at)?;
            at += count;
        }
        Ok(Arc::new(file))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(OpenOptions::new().read(true).write(true).open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn lock(&self, path: &Path, holder: &str) -> io::Result<Result<Box<dyn DiskLock>, String>> {
        let mut options = OpenOptions::new();
        let mut file = options.read(true).write(true).create(true).truncate(false).open(path)?;
        if file.try_lock().is_err() {
            let mut other = String::new();
            file.read_to_string(&mut other)?;
            return Ok(Err(other.trim().to_owned()));
        }
        file.set_len(0)?;
        file.write_all(holder.as_bytes())?;
        Ok(Ok(Box::new(file)))
    }
}

impl DiskFile for File {
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_exact_at(into, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        // WHY: a length that is needed to read the data back is synced with it.
        self.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}

impl DiskLock for File {}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    /// Else a disk that is full keeps acknowledgements and deletes from going on.
    #[test]
    fn a_new_file_has_its_room_and_reads_as_zeros() {
        let dir = tempfile::tempdir().unwrap();
        for zeros in [Zeros::Written, Zeros::Promised] {
            let (path, len) = (dir.path().join("file"), (1 << 20) + 100);
            let file = RealDisk.create(&path, len, zeros).unwrap();
            assert_eq!(file.len().unwrap(), len);
            let taken = fs::metadata(&path).unwrap().blocks() * 512;
            assert!(taken >= len, "{zeros:?}: {taken} of {len} bytes are set aside");
            let mut read = vec![7; len as usize];
            file.read_at(&mut read, 0).unwrap();
            assert!(read.iter().all(|byte| *byte == 0), "{zeros:?}");
        }
    }
}
