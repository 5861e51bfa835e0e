//! The text files of the repository, read once. Built things and foreign programs are left out.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::OnceLock;

/// What holds no sources of ours, wherever it stands.
const SKIPPED: [&str; 6] = [
    ".git",
    "target",
    "node_modules",
    "__pycache__",
    "corpus",
    "artifacts",
];

/// One text file.
#[derive(Debug)]
pub(crate) struct Source {
    /// From the top of the repository, with `/` between the parts.
    pub(crate) path: String,
    /// The whole text.
    pub(crate) text: String,
    /// Whether its owner may run it.
    pub(crate) executable: bool,
}

impl Source {
    /// A made-up file for the samples of a rule.
    pub(crate) fn sample(path: &str, text: &str) -> Self {
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
            executable: true,
        }
    }

    /// Whether the file's name ends in `.EXTENSION`.
    pub(crate) fn has_extension(&self, extension: &str) -> bool {
        Path::new(&self.path)
            .extension()
            .is_some_and(|found| found == extension)
    }

    /// Whether it is Rust.
    pub(crate) fn is_rust(&self) -> bool {
        self.has_extension("rs")
    }

    /// Lines with their numbers from 1.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text
            .lines()
            .enumerate()
            .map(|(index, line)| (index + 1, line))
    }
}

/// Every text file of the repository, in the order of paths.
pub(crate) fn sources() -> &'static [Source] {
    static SOURCES: OnceLock<Vec<Source>> = OnceLock::new();
    SOURCES.get_or_init(|| {
        let top = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut found = Vec::new();
        let walked = collect(top, "", &mut found);
        assert!(walked.is_ok(), "the repository cannot be read: {walked:?}");
        found.sort_by(|a, b| a.path.cmp(&b.path));
        found
    })
}

fn collect(top: &Path, folder: &str, found: &mut Vec<Source>) -> io::Result<()> {
    for entry in fs::read_dir(top.join(folder))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // `.git` may be a file too: in a work tree of its own it points to the repository.
        if SKIPPED.contains(&name.as_str()) {
            continue;
        }
        let path = if folder.is_empty() {
            name
        } else {
            format!("{folder}/{name}")
        };
        if entry.file_type()?.is_dir() {
            collect(top, &path, found)?;
            continue;
        }
        let executable = entry.metadata()?.permissions().mode() & 0o100 != 0;
        // What is not text can be linked to, but has no lines to check.
        let text = fs::read_to_string(entry.path()).unwrap_or_default();
        found.push(Source {
            path,
            text,
            executable,
        });
    }
    Ok(())
}
