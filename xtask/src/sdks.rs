//! `sdks`: what an SDK of AWS is promised, checked by that SDK against a server of its own.
//!
//! boto3 as it is today speaks AWS JSON, an older one the Query protocol: both run the checks of
//! `examples/sqs-python` over the engine, and today's over Redis and PostgreSQL too, where they are. They run
//! once more where every request must be signed, with the checks of what is refused then.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tidegate_conformance::services::postgres::PrivatePostgres;
use tidegate_conformance::services::redis::PrivateRedis;

use crate::cargo::{self, Counts, root};
use crate::workload::Failure;

/// Long enough that nothing but a hang takes as long.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at something that is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// A wire form: its name, and what installs a boto3 that speaks it.
type Form = (&'static str, &'static str);
const JSON: Form = ("AWS JSON", "requirements.txt");
const QUERY: Form = ("Query", "requirements-query.txt");
/// What is checked over what.
const RUNS: [(Form, Over); 6] = [
    (JSON, Over::Engine),
    (QUERY, Over::Engine),
    (JSON, Over::Keys),
    (QUERY, Over::Keys),
    (JSON, Over::Redis),
    (JSON, Over::Postgres),
];
/// The access keys of the checks.
const KEYS: &str = "access-keys.yaml";

/// What the server stands on.
#[derive(Clone, Copy, Debug)]
enum Over {
    Engine,
    /// Those who ask must sign.
    Keys,
    Redis,
    Postgres,
}

/// A broker of others that runs for one server. Dropping it ends it.
#[derive(Debug)]
enum Stood {
    Engine,
    Keys,
    Redis(PrivateRedis),
    Postgres(PrivatePostgres),
}

/// Runs the checks and tells how many there were.
pub(crate) fn main() -> ExitCode {
    let Counts { passed, failed, skipped } = counted();
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// All of them as tests.
pub(crate) fn counted() -> Counts {
    let build = ["build", "--quiet", "--all-features", "--package", "tidegate-cli"];
    if !cargo::succeeds(&cargo::cargo(), &build, &[]) {
        return Counts::one(false);
    }
    let checked = RUNS.iter().map(|((form, requirements), over)| {
        let name = format!("boto3, {form}, {over:?}").to_lowercase();
        let target = root().join("target/examples/sqs-python").join(form.replace(' ', "-"));
        let skipped = |why: &dyn std::fmt::Display| {
            eprintln!("{name} is skipped: {why}");
            Counts { passed: 0, failed: 0, skipped: 1 }
        };
        if let Err(why) = install(&target, requirements) {
            return skipped(&why);
        }
        let failed = |error: Failure| {
            println!("test {name} ... FAILED\n    {error}");
            Counts::one(false)
        };
        match stand(*over) {
            Ok(Some(stood)) => check(&name, &target, &stood).unwrap_or_else(failed),
            Ok(None) => skipped(&"its server is not here"),
            Err(error) => failed(error),
        }
    });
    checked.fold(Counts::default(), Counts::plus)
}

/// `None` where its server is not installed.
fn stand(over: Over) -> Result<Option<Stood>, Failure> {
    Ok(match over {
        Over::Engine => Some(Stood::Engine),
        Over::Keys => Some(Stood::Keys),
        Over::Redis => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(PrivateRedis::start())?.map(Stood::Redis)
        }
        Over::Postgres => PrivatePostgres::start()?.map(Stood::Postgres),
    })
}

impl Stood {
    /// The broker's URL; none is the engine in the server's directory.
    fn url(&self) -> Option<String> {
        match self {
            Self::Engine | Self::Keys => None,
            Self::Redis(redis) => Some(redis.url()),
            Self::Postgres(postgres) => Some(postgres.url()),
        }
    }
}

fn source() -> PathBuf {
    root().join("examples/sqs-python")
}

fn install(target: &Path, requirements: &str) -> Result<(), Failure> {
    fs::create_dir_all(target)?;
    run(Command::new("python3").args(["-m", "venv", ".venv"]).current_dir(target))?;
    let mut pip = Command::new(target.join(".venv/bin/python"));
    pip.args(["-m", "pip", "install", "--quiet", "-r"]).arg(source().join(requirements));
    run(&mut pip)
}

fn run(command: &mut Command) -> Result<(), Failure> {
    match command.stdin(Stdio::null()).status()? {
        status if status.success() => Ok(()),
        status => Err(format!("{command:?} ended with {status}").into()),
    }
}

fn check(run: &str, target: &Path, stood: &Stood) -> Result<Counts, Failure> {
    let mut server = Server::start(target, stood)?;
    let url = server.url()?;
    let scripts: &[&str] = match stood {
        Stood::Keys => &["checks.py", "access.py"],
        Stood::Engine | Stood::Redis(_) | Stood::Postgres(_) => &["checks.py"],
    };
    let mut ran = scripts.iter().map(|script| script_of(run, target, script, &url));
    ran.try_fold(Counts::default(), |counts, ran| Ok(counts.plus(ran?)))
}

/// Runs a script, whose lines tell what became of each check.
fn script_of(run: &str, target: &Path, script: &str, url: &str) -> Result<Counts, Failure> {
    let mut python = Command::new(target.join(".venv/bin/python"));
    python.arg(source().join(script)).arg(url).current_dir(target).stdout(Stdio::piped());
    let mut checks = python.spawn()?;
    let output = checks.stdout.take().ok_or("no output of the checks")?;
    let mut counts = Counts::default();
    for line in BufReader::new(output).lines() {
        let line = line?;
        let (told, name) = line.split_once(' ').unwrap_or_default();
        match told {
            "ok" => counts = counts.plus(Counts::one(true)),
            "FAILED" => counts = counts.plus(Counts::one(false)),
            _ => {
                println!("    {line}");
                continue;
            }
        }
        println!("test {run}: {name} ... {told}");
    }
    let ended = checks.wait()?;
    if !ended.success() && counts.failed == 0 {
        return Err(format!("the checks ended with {ended}").into());
    }
    Ok(counts)
}

/// A server that is killed at the end, with a directory of its own.
struct Server {
    dir: PathBuf,
    child: Child,
}

impl Server {
    fn start(target: &Path, stood: &Stood) -> Result<Self, Failure> {
        let dir = target.join("server");
        if dir.exists() {
            fs::remove_dir_all(&dir)?;
        }
        fs::create_dir_all(&dir)?;
        let mut command = Command::new(root().join("target/debug/tidegate"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--sqs", "127.0.0.1:0"]);
        command.args(["--ready-file", "ready.json"]);
        if matches!(stood, Stood::Keys) {
            fs::copy(source().join(KEYS), dir.join(KEYS))?;
            fs::set_permissions(dir.join(KEYS), fs::Permissions::from_mode(0o600))?;
            command.args(["--access-keys", KEYS]);
        }
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("TIDEGATE_")) {
            command.env_remove(name);
        }
        command.envs(stood.url().map(|url| ("TIDEGATE_BROKER", url)));
        let log = fs::File::create(dir.join("server.log"))?;
        command.current_dir(&dir).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Ok(Self { child: command.spawn()?, dir })
    }

    /// Where it speaks SQS, once it does.
    fn url(&mut self) -> Result<String, Failure> {
        let (begun, ready) = (Instant::now(), self.dir.join("ready.json"));
        while !ready.exists() {
            if let Some(status) = self.child.try_wait()? {
                return Err(format!("the server ended with {status}").into());
            }
            if begun.elapsed() > PATIENCE {
                return Err("the server is not ready".into());
            }
            thread::sleep(LOOK_EVERY);
        }
        let ready: Value = serde_json::from_str(&fs::read_to_string(ready)?)?;
        let url = ready.pointer("/sqs/0/url").and_then(Value::as_str);
        url.map(str::to_owned).ok_or_else(|| "the ready file has no URL of SQS".into())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}
