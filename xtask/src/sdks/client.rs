//! The clients of `examples/sqs-*`: how each is built and started, as its README says.

use std::fmt;
use std::path::PathBuf;
use std::process::Command;

use clap::ValueEnum;

use super::{boto3, python};
use crate::cargo::root;
use crate::examples::program::{Ended, Program};
use crate::examples::setup::{self, mirror_folder};
use crate::needs::{self, FOR_EXAMPLES};
use crate::workload::Failure;

/// A language with a folder in `examples/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Client {
    Python,
    Go,
    Typescript,
}

/// An access key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key {
    pub(crate) id: &'static str,
    pub(crate) secret: &'static str,
}

/// Of `access-keys.yaml`: may do everything.
pub(super) const EVERYTHING: Key = Key { id: "any", secret: "any-secret-of-its-own" };
/// The same, with a secret that is not its own.
pub(super) const WRONG: Key = Key { id: "any", secret: "any-secret-of-another" };
/// May send to other queues, and nothing else.
pub(super) const PRODUCER: Key =
    Key { id: "producer", secret: "the-producers-secret/of+its/own+40+chars" };

/// How long a poll of boto3 waits, which cannot be broken off.
const WAIT_S: &str = "1";

impl Client {
    /// Builds it. `Err` says what is missing here, or what did not build.
    pub(crate) fn build(self) -> Result<(), Failure> {
        let needs: Vec<_> =
            FOR_EXAMPLES.iter().filter(|need| need.name == self.name()).copied().collect();
        if !needs::provide(&needs).is_empty() {
            return Err("see above".into());
        }
        std::fs::create_dir_all(self.target())?;
        match self {
            Self::Python => {
                let (form, requirements) = boto3::JSON;
                python::install(&python::target(form), requirements)
            }
            Self::Go => {
                let mut build = self.go(&["build", "-o"]);
                build.arg(self.target()).arg("./cmd/...");
                all([self.go(&["mod", "download"]), self.go(&["vet", "./..."]), build])
            }
            Self::Typescript => {
                mirror_folder(&self.source(), &self.target(), &["node_modules", "dist"])?;
                let vectors = "examples/vectors.json";
                std::fs::copy(root().join(vectors), root().join("target").join(vectors))?;
                all([self.npm(&["ci", "--silent"]), self.npm(&["run", "--silent", "build"])])
            }
        }
    }

    /// Runs the tests of its helpers.
    pub(super) fn test(self) -> Result<(), Failure> {
        let mut test = match self {
            Self::Python => {
                let mut test = Command::new(python::of(&python::target(boto3::JSON.0)));
                test.args(["-m", "unittest", "--quiet"]).current_dir(self.source());
                test
            }
            Self::Go => self.go(&["test", "-count=1", "./..."]),
            Self::Typescript => self.npm(&["test", "--silent"]),
        };
        Ok(setup::run(&mut test)?)
    }

    /// A producer of the flights of a file.
    pub(super) fn producer(self, url: &str, key: Key) -> Command {
        self.command("producer", url, key)
    }

    /// One more program.
    pub(super) fn program(self, name: &str, url: &str) -> Command {
        self.command(name, url, EVERYTHING)
    }

    /// A consumer. Its polls end soon where that has to be said.
    pub(super) fn consumer(self, url: &str, key: Key) -> Command {
        let mut command = self.command("consumer", url, key);
        if self == Self::Python {
            command.args(["--wait-s", WAIT_S]);
        }
        command
    }

    /// One that asks what it is told to, of any server.
    pub(crate) fn asker(self, key: Key) -> Command {
        self.command("asker", "http://127.0.0.1", key)
    }

    fn command(self, role: &str, url: &str, key: Key) -> Command {
        let mut command = match self {
            Self::Python => {
                let mut python = Command::new(python::of(&python::target(boto3::JSON.0)));
                python.arg(self.source().join(format!("{role}.py")));
                python
            }
            Self::Go => Command::new(self.target().join(role)),
            Self::Typescript => {
                let mut node = Command::new("node");
                node.arg(self.target().join(format!("dist/{role}.js")));
                node
            }
        };
        reach(&mut command, url, key);
        command.current_dir(self.target());
        command
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::Go => "go",
            Self::Typescript => "typescript",
        }
    }

    fn source(self) -> PathBuf {
        root().join("examples").join(format!("sqs-{self}"))
    }

    fn target(self) -> PathBuf {
        root().join("target/examples").join(format!("sqs-{self}"))
    }

    fn go(self, arguments: &[&str]) -> Command {
        let mut go = Command::new("go");
        go.args(arguments).current_dir(self.source());
        go
    }

    fn npm(self, arguments: &[&str]) -> Command {
        let mut npm = Command::new("npm");
        npm.args(arguments).current_dir(self.target());
        npm
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Says where the server is and who asks it, as every SDK of AWS understands it, and nothing of this machine.
pub(super) fn reach(command: &mut Command, url: &str, key: Key) {
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AWS_")) {
        command.env_remove(name);
    }
    let Key { id, secret } = key;
    command.envs([
        ("AWS_ENDPOINT_URL_SQS", url),
        ("AWS_ACCESS_KEY_ID", id),
        ("AWS_SECRET_ACCESS_KEY", secret),
        ("AWS_REGION", "us-east-1"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("AWS_CONFIG_FILE", "/dev/null"),
        ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
        ("NODE_NO_WARNINGS", "1"),
        ("PYTHONDONTWRITEBYTECODE", "1"),
    ]);
}

/// Runs a program to its end.
pub(super) fn ended(command: Command) -> Result<Ended, Failure> {
    Program::run(command)?.end()
}

fn all(commands: impl IntoIterator<Item = Command>) -> Result<(), Failure> {
    commands.into_iter().try_for_each(|mut command| Ok(setup::run(&mut command)?))
}
