//! What every command shares: the configuration, the broker's URL, and how to answer.

use std::path::{Path, PathBuf};

use tidegate::{Broker, ConnectOptions, EMBEDDED_PATH_DEFAULT, ErrorKind, connect_with};

use crate::args::Global;
use crate::config::{Config, FILE_DEFAULT, Settings};
use crate::failure::Failure;
use crate::output::Output;

/// Where tasks go when nothing else is said.
const BROKER_DEFAULT: &str = "embedded:./tidegate-data";

/// What every command shares.
#[derive(Debug)]
pub(crate) struct App {
    global: Global,
    pub(crate) output: Output,
}

/// Whether a command may find nothing where the data should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fresh {
    /// It makes a new data directory.
    Make,
    /// It refuses: on a mistyped path it would show an empty broker and leave a directory behind.
    Refuse,
}

impl App {
    pub(crate) fn new(global: Global) -> Self {
        let output = Output { json: global.json };
        Self { global, output }
    }

    /// The configuration: the file that `--config` or `TIDEGATE_CONFIG` names, or `tidegate.yaml`
    /// where there is one, and the environment over it.
    pub(crate) fn config(&self) -> Result<Config, Failure> {
        self.config_of(self.global.config.clone())
    }

    /// The configuration in `file`, or where [`App::config`] finds it.
    pub(crate) fn config_of(&self, file: Option<PathBuf>) -> Result<Config, Failure> {
        let file = file.or_else(|| self.global.config.clone()).or_else(|| {
            let default = PathBuf::from(FILE_DEFAULT);
            default.is_file().then_some(default)
        });
        Ok(Config::load(file.as_deref(), variables())?)
    }

    /// The defaults of queues and workers.
    pub(crate) fn settings(&self) -> Result<Settings, Failure> {
        Ok(Settings::of(&self.config()?))
    }

    /// The URLs that were given by flags.
    pub(crate) fn broker_flags(&self) -> &[String] {
        &self.global.broker
    }

    /// The broker's URL: flag over environment over file over default.
    pub(crate) fn url(&self, settings: &Settings) -> Result<String, Failure> {
        match self.global.broker.as_slice() {
            [] => Ok(settings.broker.clone().unwrap_or_else(|| BROKER_DEFAULT.to_owned())),
            [url] => Ok(url.clone()),
            _ => Err(Failure::usage("only `bench` takes more than one --broker")),
        }
    }

    /// Connects to the broker.
    pub(crate) async fn open(&self, settings: &Settings, fresh: Fresh) -> Result<Broker, Failure> {
        let url = self.url(settings)?;
        if url.split(':').next() == Some("memory") {
            return Err(Failure::usage(
                "`memory:` lives and dies with one process, so what this command left there nobody \
                 would ever see",
            )
            .with_help("use `embedded:PATH`; `serve`, `bench` and `demo` alone run on `memory:`"));
        }
        if fresh == Fresh::Refuse {
            refuse_if_absent(&url)?;
        }
        connect(&url).await
    }

    /// Connects to the broker that others will use through this process: it may be `memory:` too, which
    /// lives as long as they can reach it. A data directory is made if it is missing.
    pub(crate) async fn open_to_serve(&self, settings: &Settings) -> Result<Broker, Failure> {
        connect(&self.url(settings)?).await
    }
}

async fn connect(url: &str) -> Result<Broker, Failure> {
    let options = ConnectOptions { token: token(), ..ConnectOptions::default() };
    connect_with(url, options).await.map_err(|error| {
        let unbuilt = error.kind() == ErrorKind::Unsupported;
        let failure = Failure::from(error);
        match block_of(url).filter(|_| unbuilt) {
            Some(block) => failure.with_help(format!(
                "`{block}` is not built yet; `tidegate config check` lists what is in force"
            )),
            None => failure,
        }
    })
}

/// The access token for a server. WHY: from the environment, where no list of processes shows it.
fn token() -> Option<String> {
    std::env::var("TIDEGATE_TOKEN").ok().filter(|token| !token.is_empty())
}

/// The block of the configuration that a broker needs.
fn block_of(url: &str) -> Option<&'static str> {
    match url.split(':').next() {
        Some("kafka") => Some("kafka_broker"),
        _ => None,
    }
}

fn refuse_if_absent(url: &str) -> Result<(), Failure> {
    let Some(rest) = url.strip_prefix("embedded:") else { return Ok(()) };
    let path = rest.split('?').next().unwrap_or_default();
    let path = if path.is_empty() { EMBEDDED_PATH_DEFAULT } else { path };
    if Path::new(path).exists() {
        return Ok(());
    }
    Err(Failure::missing(format!("there are no queues at {path}: the directory does not exist"))
        .with_help(
            "`tidegate send QUEUE BODY` makes it, or name another with --broker embedded:PATH",
        ))
}

/// Variables whose names and values are text; others are none of ours.
fn variables() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}
