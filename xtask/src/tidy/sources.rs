//! Every text of the repository.

use std::fs;
use std::io;
use std::path::Path;

use crate::cargo::root;

/// Folders that are not ours to check: what is built, installed and stored.
const PASSED_OVER: [&str; 5] = ["target", ".git", "tidegate-data", "node_modules", ".venv"];

/// One file.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// From the root, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl Source {
    /// Whether it is Rust.
    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Whether it is test code, an example or a benchmark as a whole.
    pub(crate) fn is_test(&self) -> bool {
        ["/tests/", "/examples/", "/benches/"].iter().any(|part| self.path.contains(part))
    }

    /// The part of a Rust file before its unit tests.
    pub(crate) fn without_unit_tests(&self) -> &str {
        self.text.split("#[cfg(test)]\nmod ").next().unwrap_or(&self.text)
    }
}

/// Reads all of them, sorted. What is not text is passed over.
pub(crate) fn all() -> io::Result<Vec<Source>> {
    let mut sources = Vec::new();
    walk(&root(), "", &mut sources)?;
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(sources)
}

fn walk(root: &Path, under: &str, sources: &mut Vec<Source>) -> io::Result<()> {
    for entry in fs::read_dir(root.join(under))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if under.is_empty() { name.clone() } else { format!("{under}/{name}") };
        if entry.file_type()?.is_dir() {
            if !PASSED_OVER.contains(&name.as_str()) {
                walk(root, &path, sources)?;
            }
        } else if let Ok(text) = fs::read_to_string(entry.path()) {
            sources.push(Source { path, text });
        }
    }
    Ok(())
}
