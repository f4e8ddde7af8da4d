//! The blocks of the configuration, and what of them this build goes by.

use serde::Serialize;

use super::Config;
use super::keys::{KEYS, Key, Use};

/// One block, as `config check` shows it.
#[derive(Debug, Serialize)]
pub(crate) struct Block {
    /// Its name.
    pub(crate) block: &'static str,
    /// Whether it is in force.
    pub(crate) status: Status,
    /// Keys that are set and in force.
    pub(crate) active: Vec<Shown>,
    /// Keys that are set but whose feature has not been built yet.
    pub(crate) not_built_yet: Vec<Shown>,
}

/// Whether a block is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Status {
    /// All that is set is in force.
    Active,
    /// Some of what is set is in force.
    Partly,
    /// Nothing of what is set is in force.
    NotBuiltYet,
    /// Nothing is set; its defaults are in force.
    Defaults,
    /// Nothing is set, and nothing would be in force.
    Absent,
}

/// One value with its place.
#[derive(Debug, Serialize)]
pub(crate) struct Shown {
    pub(crate) key: &'static str,
    pub(crate) value: String,
    pub(crate) from: String,
}

/// All blocks, in the order of the documentation.
pub(crate) fn blocks(config: &Config) -> Vec<Block> {
    let mut names = Vec::new();
    for key in KEYS {
        let name = key.block().unwrap_or(key.path);
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.into_iter().map(|name| block(config, name)).collect()
}

fn block(config: &Config, name: &'static str) -> Block {
    let keys = || KEYS.iter().filter(|key| key.block().unwrap_or(key.path) == name);
    let shown = |active: bool| {
        let set = keys().filter_map(|key| config.set.get(key.path).map(|setting| (key, setting)));
        let wanted = set.filter(|(key, setting)| key.is_active_as(&setting.value) == active);
        let shown = wanted.map(|(key, setting)| Shown {
            key: key.path,
            value: setting.value.to_string(),
            from: setting.origin.to_string(),
        });
        shown.collect::<Vec<_>>()
    };
    let (active, not_built_yet) = (shown(true), shown(false));
    let built = keys().any(|key: &Key| key.use_ != Use::Later);
    let status = match (active.is_empty(), not_built_yet.is_empty()) {
        (false, true) => Status::Active,
        (false, false) => Status::Partly,
        (true, false) => Status::NotBuiltYet,
        (true, true) if built => Status::Defaults,
        (true, true) => Status::Absent,
    };
    Block { block: name, status, active, not_built_yet }
}
