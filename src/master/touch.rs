//! Files that cause a reload when they change (`--touch-reload`).
//!
//! It must not know what a reload is.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// When a file was changed, and which file it is; None when there is none.
type Stamp = Option<(i64, i64, u64)>;

/// Files with what they were when they were last looked at.
#[derive(Debug, Default)]
pub(super) struct Touch {
    files: Vec<(PathBuf, Stamp)>,
}

impl Touch {
    /// Watches these files from now on; a file that was watched before keeps its stamp.
    pub(super) fn watch(&mut self, paths: &[PathBuf]) {
        let old = std::mem::take(&mut self.files);
        let known = |path: &PathBuf| old.iter().find(|(known, _)| known == path);
        for path in paths {
            let stamp = match known(path) {
                Some((_, stamp)) => *stamp,
                None => {
                    let stamp = stamp(path);
                    if stamp.is_none() {
                        log::warn!(
                            "--touch-reload {}: there is no such file; the server is reloaded when \
                             there is",
                            path.display()
                        );
                    }
                    stamp
                }
            };
            self.files.push((path.clone(), stamp));
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// A file that has changed or come since the last look. One that has gone is waited for.
    pub(super) fn touched(&mut self) -> Option<&Path> {
        let mut touched = None;
        for (path, before) in &mut self.files {
            let now = stamp(path);
            if now.is_some() && now != *before {
                touched = Some(&**path);
            }
            *before = now;
        }
        touched
    }
}

fn stamp(path: &Path) -> Stamp {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.mtime(), metadata.mtime_nsec(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn a_touch_a_replacement_and_a_new_file_are_noticed_once() {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = (folder.path().join("old"), folder.path().join("new"));
        let file = File::create(&old).unwrap();
        let mut touch = Touch::default();
        touch.watch(&[old.clone(), new.clone()]);
        assert_eq!(touch.touched(), None);
        let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
        file.set_modified(long_ago).unwrap();
        assert_eq!(touch.touched(), Some(&*old));
        assert_eq!(touch.touched(), None);
        fs::write(&new, "").unwrap();
        assert_eq!(touch.touched(), Some(&*new));
        fs::rename(&new, &old).unwrap();
        assert_eq!(touch.touched(), Some(&*old), "and the other one is gone");
        touch.watch(std::slice::from_ref(&old));
        assert_eq!(touch.touched(), None, "it is known already");
    }
}
