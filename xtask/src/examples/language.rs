//! The languages of `examples/`, and how the programs of each are started.

use std::fmt;
use std::path::PathBuf;
use std::process::Command;

use clap::ValueEnum;

use crate::cargo::root;

/// A language with a folder in `examples/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Language {
    Python,
    Go,
    Typescript,
}

/// A program that every language has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Producer,
    Consumer,
}

impl Language {
    pub(super) const ALL: [Self; 3] = [Self::Python, Self::Go, Self::Typescript];

    /// The name of its folder.
    pub(super) const fn folder(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::Go => "go",
            Self::Typescript => "typescript",
        }
    }

    /// Where it is written.
    pub(super) fn source(self) -> PathBuf {
        root().join("examples").join(self.folder())
    }

    /// What its own commands make in its folder.
    pub(super) const fn makes(self) -> &'static [&'static str] {
        match self {
            Self::Python => &[".venv", "tidegate", "__pycache__"],
            Self::Go => &[],
            Self::Typescript => &["node_modules", "gen", "dist"],
        }
    }

    /// Where it is built, with all that it installs.
    pub(super) fn target(self) -> PathBuf {
        root().join("target/examples").join(self.folder())
    }

    /// Starts a program as its README does.
    pub(super) fn command(self, role: Role) -> Command {
        let target = self.target();
        let mut command = match self {
            Self::Python => {
                let mut python = Command::new(target.join(".venv/bin/python"));
                python.arg(target.join(format!("{role}.py")));
                python
            }
            Self::Go => Command::new(target.join(role.to_string())),
            Self::Typescript => {
                let mut node = Command::new("node");
                node.arg(target.join(format!("dist/{role}.js")));
                node
            }
        };
        command.current_dir(target);
        command
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.folder())
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Producer => "producer",
            Self::Consumer => "consumer",
        })
    }
}
