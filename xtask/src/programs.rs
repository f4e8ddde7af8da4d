//! The test programs of the workspace, all built at once, and the binary that is built with them.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use serde::Deserialize;

use crate::cargo::{self, Counts, root};

/// Where the binary is, once it was built in this process without optimisations.
static BINARY: OnceLock<PathBuf> = OnceLock::new();

/// Every test program of the workspace.
#[derive(Debug)]
pub(crate) struct Programs(Vec<Program>);

/// One test program.
#[derive(Debug)]
pub(crate) struct Program {
    /// The package, as its folder.
    folder: PathBuf,
    /// What cargo calls it, such as `conformance` for `tests/conformance.rs`.
    name: String,
    /// Whether it lies in `tests/`.
    pub(crate) is_integration: bool,
    executable: PathBuf,
}

/// What cargo says of something that it has built.
#[derive(Deserialize)]
struct Artifact {
    manifest_path: PathBuf,
    target: Target,
    profile: Profile,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

impl Program {
    /// Whether it is that one of that package.
    pub(crate) fn is(&self, (folder, name): (&str, &str)) -> bool {
        self.is_integration && self.name == name && self.folder == root().join(folder)
    }

    fn run(&self) -> Counts {
        let mut command = Command::new(&self.executable);
        // What cargo sets when it runs them itself, as far as they ask for it.
        command.current_dir(&self.folder).env("CARGO_MANIFEST_DIR", &self.folder);
        cargo::counted(command).unwrap_or_else(|error| {
            eprintln!("{} could not be run: {error}", self.executable.display());
            Counts::one(false)
        })
    }
}

impl Programs {
    /// Builds them, and the binary.
    ///
    /// All at once, for a package built alone has fewer features switched on in what it depends on, and
    /// all of that would be compiled again for it.
    pub(crate) fn build() -> Result<Self, String> {
        let targets = ["--lib", "--bins", "--examples", "--tests"];
        let build = ["test", "--no-run", "--workspace", "--all-features"];
        let told = ["--message-format", "json-render-diagnostics"];
        let text = cargo::output(&cargo::cargo(), &[&build[..], &targets, &told].concat())?;
        // What is said of other things has other fields.
        let artifacts = text.lines().filter_map(|line| serde_json::from_str(line).ok());
        let mut programs = Vec::new();
        for Artifact { manifest_path, target, profile, executable } in artifacts {
            let Some(executable) = executable else { continue };
            let Target { name, kind } = target;
            if profile.test {
                let folder = manifest_path.parent().map(PathBuf::from).unwrap_or_default();
                let is_integration = kind.iter().any(|kind| kind == "test");
                programs.push(Program { folder, name, is_integration, executable });
            } else if name == "tidegate" {
                let _ = BINARY.set(executable);
            }
        }
        programs.sort_by(|a, b| (&a.folder, &a.name).cmp(&(&b.folder, &b.name)));
        Ok(Self(programs))
    }

    /// Runs those that are wanted, one after the other; none is one failure.
    pub(crate) fn run(&self, wanted: impl Fn(&Program) -> bool) -> Counts {
        let wanted = self.0.iter().filter(|program| wanted(program));
        let ran = wanted.map(Program::run);
        ran.reduce(Counts::plus).unwrap_or_else(|| {
            eprintln!("there is no such test program");
            Counts::one(false)
        })
    }
}

/// Builds the binary with all its features, unless it is there from before, and tells where it is.
pub(crate) fn binary(optimised: bool) -> Result<PathBuf, String> {
    if let (false, Some(built)) = (optimised, BINARY.get()) {
        return Ok(built.clone());
    }
    let mut arguments = vec!["build", "--quiet", "--all-features", "--package", "tidegate-cli"];
    arguments.extend(optimised.then_some("--release"));
    if !cargo::succeeds(&cargo::cargo(), &arguments, &[]) {
        return Err("the binary could not be built".into());
    }
    let profile = if optimised { "release" } else { "debug" };
    let built = root().join("target").join(profile).join("tidegate");
    Ok(if optimised { built } else { BINARY.get_or_init(|| built).clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suites::Suite;

    #[test]
    fn a_stage_whose_program_is_not_there_has_failed() {
        assert_eq!(Programs(Vec::new()).run(|_| true), Counts::one(false));
    }

    #[test]
    fn a_suite_is_one_program_of_its_package() {
        for (folder, name) in Suite::ALL.map(Suite::target) {
            let program = |folder: &str, name: &str, is_integration| Program {
                folder: root().join(folder),
                name: name.to_owned(),
                is_integration,
                executable: PathBuf::new(),
            };
            assert!(root().join(folder).join("Cargo.toml").is_file(), "{folder}");
            assert!(program(folder, name, true).is((folder, name)));
            assert!(!program(folder, name, false).is((folder, name)), "a library of that name");
            assert!(!program("crates/other", name, true).is((folder, name)));
            assert!(!program(folder, "other", true).is((folder, name)));
        }
    }
}
