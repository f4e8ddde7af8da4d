//! Builds an example below `target/examples`, by the commands of its README. Nothing is written where
//! its source is.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::language::Language;
use crate::cargo::root;
use crate::needs::{self, FOR_EXAMPLES};
use crate::workload::Failure;

/// What became of it.
pub(super) enum Built {
    Runs,
    /// Something is missing here: a language, or a way to its packages.
    Lacks(String),
}

/// What stays where an example is built: packages.
const PACKAGES: [&str; 2] = [".venv", "node_modules"];
/// What generates the code of Go, by its README.
const BUF: &str = "--package=@bufbuild/buf@1.75.0";

pub(super) fn build(language: Language) -> Result<Built, Failure> {
    let needs: Vec<_> =
        FOR_EXAMPLES.iter().filter(|need| need.name == language.folder()).copied().collect();
    if !needs::provide(&needs).is_empty() {
        return Ok(Built::Lacks("see above".into()));
    }
    fs::create_dir_all(language.target())?;
    let (install, mut build): (Vec<Command>, Vec<Command>) = match language {
        Language::Python => {
            mirror(language, &language.target())?;
            python()
        }
        Language::Go => go(),
        Language::Typescript => {
            mirror(language, &language.target())?;
            typescript()
        }
    };
    for mut command in install {
        if let Err(why) = run(&mut command) {
            return Ok(Built::Lacks(why));
        }
    }
    build.iter_mut().try_for_each(run)?;
    Ok(Built::Runs)
}

fn protocol() -> PathBuf {
    root().join("crates/remote/proto")
}

fn python() -> (Vec<Command>, Vec<Command>) {
    let target = Language::Python.target();
    let python = target.join(".venv/bin/python");
    let mut venv = Command::new("python3");
    venv.args(["-m", "venv", ".venv"]).current_dir(&target);
    let mut packages = Command::new(&python);
    packages.args(["-m", "pip", "install", "--quiet", "-r", "requirements.txt"]);
    packages.current_dir(&target);
    let mut generate = Command::new(&python);
    generate.args(["-m", "grpc_tools.protoc", "-I"]).arg(protocol());
    generate.args(["--python_out=.", "--pyi_out=.", "--grpc_python_out=."]);
    generate.arg("tidegate/v1/broker.proto").current_dir(&target);
    (vec![venv, packages], vec![generate])
}

fn go() -> (Vec<Command>, Vec<Command>) {
    let command = |arguments: &[&str]| {
        let mut go = Command::new("go");
        go.args(arguments).current_dir(Language::Go.source());
        go
    };
    let mut build = command(&["build", "-o"]);
    build.arg(Language::Go.target()).arg("./cmd/...");
    (vec![command(&["mod", "download"])], vec![command(&["vet", "./..."]), build])
}

fn typescript() -> (Vec<Command>, Vec<Command>) {
    let command = |arguments: &[&str]| {
        let mut npm = Command::new("npm");
        npm.args(arguments).current_dir(Language::Typescript.target());
        npm.env("TIDEGATE_PROTO", protocol());
        npm
    };
    (vec![command(&["ci", "--silent"])], vec![command(&["run", "--silent", "build"])])
}

/// Generates the code of Go once more and tells whether what is committed is the same.
pub(super) fn go_is_fresh() -> Result<(), Failure> {
    let (kept, made) = (Language::Go.source(), Language::Go.target().join("fresh"));
    if made.exists() {
        fs::remove_dir_all(&made)?;
    }
    mirror(Language::Go, &made)?;
    let generated = made.join("tidegatev1");
    let names = |folder: &Path| -> Result<Vec<String>, Failure> {
        let entries = fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
        let mut names: Vec<_> =
            entries.iter().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        Ok(names)
    };
    for name in names(&generated)? {
        fs::remove_file(generated.join(name))?;
    }
    let mut generate = Command::new("npm");
    generate.args(["exec", "--yes", BUF, "--", "buf", "generate"]).arg(protocol());
    run(generate.current_dir(&made))?;
    let committed = kept.join("tidegatev1");
    super::same("files of generated code", &names(&committed)?, &names(&generated)?)?;
    for name in names(&generated)? {
        if fs::read(generated.join(&name))? != fs::read(committed.join(&name))? {
            let why = "is not what the protocol makes; generate it as examples/go/README.md says";
            return Err(format!("tidegatev1/{name} {why}").into());
        }
    }
    Ok(())
}

/// Copies what is written by hand; what else is there goes, but for packages.
fn mirror(language: Language, to: &Path) -> Result<(), Failure> {
    mirror_folder(&language.source(), to, language.makes())
}

/// The same for a folder, but for what its own commands make there.
pub(crate) fn mirror_folder(from: &Path, to: &Path, but: &[&str]) -> Result<(), Failure> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(to)? {
        let entry = entry?;
        let is_kept = PACKAGES.iter().any(|name| entry.file_name() == *name);
        match (is_kept, entry.file_type()?.is_dir()) {
            (true, _) => {}
            (false, true) => fs::remove_dir_all(entry.path())?,
            (false, false) => fs::remove_file(entry.path())?,
        }
    }
    copy(from, to, but)
}

fn copy(from: &Path, to: &Path, but: &[&str]) -> Result<(), Failure> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if but.iter().any(|name| entry.file_name() == *name) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target, but)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Runs a command and says what it was.
pub(crate) fn run(command: &mut Command) -> Result<(), String> {
    let arguments: Vec<_> =
        command.get_args().map(|argument| argument.to_string_lossy().into_owned()).collect();
    let name = Path::new(command.get_program()).file_name().unwrap_or_default().to_owned();
    let shown = format!("{} {}", name.to_string_lossy(), arguments.join(" "));
    eprintln!("$ {shown}");
    match command.stdin(Stdio::null()).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(format!("`{shown}` failed")),
        Err(error) => Err(format!("`{shown}` could not be run: {error}")),
    }
}
