//! Pages and documentation that must be there.

use super::Complaint;
use super::sources::Source;

/// Longest ARCHITECTURE.md, in lines: it is read in one sitting.
const ARCHITECTURE_LINES_MAX: usize = 400;
/// Pages at the root.
const PAGES: [&str; 8] = [
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "STYLE.md",
    "SECURITY.md",
    "CHANGELOG.md",
    "LICENSE-MIT",
    "LICENSE-APACHE",
];

/// Finds pages that are missing or lead nowhere.
pub(super) fn check(sources: &[Source]) -> Vec<Complaint> {
    let mut complaints = missing(sources);
    complaints.extend(sources.iter().flat_map(page));
    for source in sources.iter().filter(|source| source.path.ends_with(".md")) {
        complaints.extend(dead_links(source, sources));
    }
    complaints
}

fn missing(sources: &[Source]) -> Vec<Complaint> {
    let is_there = |page: &str| sources.iter().any(|source| source.path == page);
    PAGES
        .iter()
        .filter(|page| !is_there(page))
        .map(|page| Complaint::new(*page, "is missing"))
        .collect()
}

fn page(source: &Source) -> Option<Complaint> {
    let Source { path, text } = source;
    let what = if path.ends_with("/src/lib.rs") && !text.starts_with("//!") {
        "says nothing about its crate: begin with `//!`"
    } else if path == "CHANGELOG.md" && !text.contains("\n## [Unreleased]\n") {
        "has no section `## [Unreleased]`"
    } else if path == "ARCHITECTURE.md" && text.lines().count() > ARCHITECTURE_LINES_MAX {
        "is longer than 400 lines: move detail to docs/internals"
    } else {
        return None;
    };
    Some(Complaint::new(path.clone(), what))
}

/// Links between pages whose target is not there.
fn dead_links(source: &Source, sources: &[Source]) -> Vec<Complaint> {
    let targets = source.text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let local = targets.filter(|target| !target.contains("://") && !target.starts_with('#'));
    let dead = local.filter(|target| {
        let path = resolve(&source.path, target.split('#').next().unwrap_or_default());
        let folder = format!("{path}/");
        !sources.iter().any(|other| other.path == path || other.path.starts_with(&folder))
    });
    dead.map(|target| Complaint::new(source.path.clone(), format!("`{target}` leads nowhere")))
        .collect()
}

fn resolve(from: &str, target: &str) -> String {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "." | "" => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(path: &str, text: &str) -> Source {
        Source { path: path.into(), text: text.into() }
    }

    #[test]
    fn a_link_that_leads_nowhere_is_named() {
        let here =
            source("docs/guide/a.md", "[b](b.md#part) [c](../c.md) [d](https://d) [e](e.md)");
        let sources = [here.clone(), source("docs/guide/b.md", ""), source("docs/c.md", "")];
        let found = dead_links(&here, &sources);
        assert_eq!(found.len(), 1);
        assert!(found[0].what.contains("e.md"));
    }

    #[test]
    fn a_page_without_what_it_must_say_is_named() {
        assert!(page(&source("CHANGELOG.md", "# Changelog\n")).is_some());
        assert!(page(&source("crates/core/src/lib.rs", "mod a;\n")).is_some());
        assert!(page(&source("ARCHITECTURE.md", &"line\n".repeat(401))).is_some());
        assert!(page(&source("ARCHITECTURE.md", "line\n")).is_none());
        assert_eq!(missing(&[]).len(), PAGES.len());
    }
}
