//! The configuration: environment over file over default, every value with the place it was set.

pub(crate) mod access_keys;
mod blocks;
mod entries;
mod environment;
mod guarded;
mod keys;
mod node;
mod problem;
mod redis;
mod settings;
pub(crate) mod tokens;
mod value;
mod yaml;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub(crate) use blocks::{Block, Status, blocks};
pub(crate) use keys::KEYS;
pub(crate) use problem::Problem;
pub(crate) use settings::Settings;

use value::Value;
use yaml::Setting;

/// The file that is read where none is named and it is there.
pub(crate) const FILE_DEFAULT: &str = "tidegate.yaml";

/// All that was set, each key by the place that counts.
#[derive(Debug, Default)]
pub(crate) struct Config {
    set: BTreeMap<&'static str, Setting>,
    /// The file that was read, if one was.
    pub(crate) file: Option<PathBuf>,
}

impl Config {
    /// Reads the file, if there is one, and the variables over it.
    pub(crate) fn load(
        file: Option<&Path>,
        variables: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, Problem> {
        let mut config = Self::default();
        if let Some(path) = file {
            let text =
                std::fs::read_to_string(path).map_err(|error| Problem::unreadable(path, &error))?;
            config.lay_over(yaml::read(path, &text)?);
            config.file = Some(path.to_owned());
        }
        config.lay_over(environment::read(variables)?);
        config.check()?;
        Ok(config)
    }

    fn lay_over(&mut self, settings: Vec<Setting>) {
        self.set.extend(settings.into_iter().map(|setting| (setting.key, setting)));
    }

    fn value(&self, key: &str) -> Option<&Value> {
        self.set.get(key).map(|setting| &setting.value)
    }

    /// What no key can know by itself: rules between keys.
    fn check(&self) -> Result<(), Problem> {
        let settings = Settings::of(self);
        let blame = |key: &str, why: String| match self.set.get(key) {
            Some(setting) => Err(Problem::at(&setting.origin, format!("`{key}`: {why}"))),
            None => Ok(()),
        };
        if let Err(why) = settings.retry.check() {
            blame("retry_policy.max_delay", why.clone())?;
            blame("retry_policy.initial_delay", why)?;
        }
        if let Some(Value::Text(name)) = self.value("dead_letter_queue.routing_key")
            && let Err(why) = tidegate::QueueName::new(name)
        {
            blame("dead_letter_queue.routing_key", why)?;
        }
        if settings.lease > tidegate::limits::LEASE_MAX {
            blame("queue.lease", "a lease lasts at most 12 h".into())?;
        }
        if settings.dedup_window > tidegate::limits::DEDUP_WINDOW_MAX {
            blame("queue.dedup_window", "a dedup window lasts at most a year".into())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod refusals;
#[cfg(test)]
mod tests;
