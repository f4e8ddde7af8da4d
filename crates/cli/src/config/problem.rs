//! What is wrong with a configuration, and where.

use std::ops::Range;
use std::path::{Path, PathBuf};

use miette::{Diagnostic, LabeledSpan, NamedSource, SourceCode};

/// Where a value was set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// In a file, at a line and column from 1, and these bytes of it.
    File { path: PathBuf, line: u64, column: u64, bytes: Range<usize> },
    /// In an environment variable.
    Variable(String),
}

/// What is wrong with a configuration: one thing, where it stands and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{}: {}", .0.place, .0.what)]
pub(crate) struct Problem(Box<Inner>);

#[derive(Debug)]
struct Inner {
    /// `tidegate.yaml:3:5` or a variable's name.
    place: String,
    what: String,
    help: Option<String>,
    source_code: Option<(NamedSource<String>, Range<usize>)>,
}

impl Problem {
    /// Something wrong with what stands at `origin`.
    pub(crate) fn at(origin: &Origin, what: impl Into<String>) -> Self {
        Self::new(origin.to_string(), what.into())
    }

    /// A file that cannot be read at all.
    pub(crate) fn unreadable(path: &Path, error: &std::io::Error) -> Self {
        Self::new(path.display().to_string(), format!("the file cannot be read: {error}"))
    }

    fn new(place: String, what: String) -> Self {
        Self(Box::new(Inner { place, what, help: None, source_code: None }))
    }

    pub(crate) fn with_help(mut self, help: impl Into<String>) -> Self {
        self.0.help = Some(help.into());
        self
    }

    /// Shows the lines around the place.
    pub(crate) fn shown_in(mut self, origin: &Origin, text: &str) -> Self {
        if let Origin::File { path, bytes, .. } = origin {
            let named = NamedSource::new(path.display().to_string(), text.to_owned());
            self.0.source_code = Some((named, bytes.clone()));
        }
        self
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File { path, line, column, .. } => {
                write!(f, "{}:{line}:{column}", path.display())
            }
            Self::Variable(name) => f.write_str(name),
        }
    }
}

impl Diagnostic for Problem {
    fn help<'a>(&'a self) -> Option<Box<dyn std::fmt::Display + 'a>> {
        self.0.help.as_ref().map(|help| Box::new(help) as _)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.0.source_code.as_ref().map(|(source, _)| source as _)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let (_, bytes) = self.0.source_code.as_ref()?;
        let label = LabeledSpan::new(Some("here".into()), bytes.start, bytes.len());
        Some(Box::new(std::iter::once(label)))
    }
}
