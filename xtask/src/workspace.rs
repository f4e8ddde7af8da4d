//! What `cargo metadata` says of the workspace.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::cargo;

/// The packages of the workspace.
#[derive(Debug)]
pub(crate) struct Workspace {
    pub(crate) packages: Vec<Package>,
}

/// One package.
#[derive(Debug)]
pub(crate) struct Package {
    pub(crate) name: String,
    /// What it depends on, ours or not, by the kind of dependency: `normal`, `dev`, `build`.
    pub(crate) dependencies: BTreeMap<String, Vec<String>>,
}

impl Package {
    /// What it depends on in one way.
    pub(crate) fn depends_on(&self, kind: &str) -> &[String] {
        self.dependencies.get(kind).map_or(&[], Vec::as_slice)
    }
}

impl Workspace {
    /// Asks cargo.
    pub(crate) fn load() -> Result<Self, String> {
        let arguments = ["metadata", "--no-deps", "--format-version", "1"];
        let text = cargo::output(&cargo::cargo(), &arguments)?;
        let read: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        let mut packages: Vec<Package> = list(&read, "packages").iter().map(package).collect();
        packages.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Self { packages })
    }

    /// Whether a name is one of ours.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.packages.iter().any(|package| package.name == name)
    }
}

fn package(read: &Value) -> Package {
    let mut dependencies: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for dependency in list(read, "dependencies") {
        let kind = dependency.get("kind").and_then(Value::as_str).unwrap_or("normal");
        dependencies.entry(kind.into()).or_default().push(text(dependency, "name"));
    }
    Package { name: text(read, "name"), dependencies }
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn text(value: &Value, name: &str) -> String {
    value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}
