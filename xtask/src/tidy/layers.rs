//! Who may depend on whom, and what each layer must not touch.

use std::collections::{BTreeMap, BTreeSet};

use super::Complaint;
use super::sources::Source;
use crate::workspace::{Package, Workspace};

/// The page with the table, and the heading it stands under.
const PAGE: &str = "ARCHITECTURE.md";
const HEADING: &str = "## Who may depend on whom";
/// What core does without: runtimes and clients of other people's brokers.
const NOT_IN_CORE: [&str; 12] = [
    "tokio",
    "async-std",
    "smol",
    "redis",
    "fred",
    "tokio-postgres",
    "sqlx",
    "lapin",
    "rdkafka",
    "async-nats",
    "aws-sdk-sqs",
    "reqwest",
];

/// Who depends on whom: for each package, what it needs and what only its tests need.
type Table = BTreeMap<String, (BTreeSet<String>, BTreeSet<String>)>;

/// Finds dependencies and calls that a layer must not have.
pub(super) fn check(sources: &[Source]) -> Vec<Complaint> {
    let mut complaints = match Workspace::load() {
        Ok(workspace) => packages(&workspace, sources),
        Err(why) => vec![Complaint::new("Cargo.toml", why)],
    };
    complaints.extend(touches(sources));
    complaints
}

fn packages(workspace: &Workspace, sources: &[Source]) -> Vec<Complaint> {
    let page = sources.iter().find(|source| source.path == PAGE);
    let Some(declared) = page.and_then(|page| read_table(&page.text)) else {
        return vec![Complaint::new(PAGE, format!("has no table under `{HEADING}`"))];
    };
    let mut complaints = differences(&declared, &actual(workspace));
    for package in &workspace.packages {
        complaints.extend(forbidden(package));
    }
    complaints
}

/// Reads the rows `| package | needs | for tests |` under the heading.
fn read_table(page: &str) -> Option<Table> {
    let (_, after) = page.split_once(HEADING)?;
    let rows = after.lines().skip_while(|line| !line.starts_with('|'));
    let rows = rows.take_while(|line| line.starts_with('|')).skip(2);
    let names = |cell: &str| {
        let words = cell.split(',').map(|word| word.trim().trim_matches('`'));
        words.filter(|word| !word.is_empty() && *word != "-").map(str::to_owned).collect()
    };
    let row = |line: &str| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let name = cells.first()?.trim_matches('`').to_owned();
        Some((name, (names(cells.get(1)?), names(cells.get(2)?))))
    };
    let table: Option<Table> = rows.map(row).collect();
    table.filter(|table| !table.is_empty())
}

fn actual(workspace: &Workspace) -> Table {
    let ours = |package: &Package, kind: &str| {
        let all = package.depends_on(kind).iter();
        all.filter(|name| workspace.has(name)).cloned().collect::<BTreeSet<_>>()
    };
    let row = |package: &Package| {
        let needs = &ours(package, "normal") | &ours(package, "build");
        let tests = &ours(package, "dev") - &needs;
        (package.name.clone(), (needs, tests))
    };
    workspace.packages.iter().map(row).collect()
}

fn differences(declared: &Table, actual: &Table) -> Vec<Complaint> {
    let names: BTreeSet<&String> = declared.keys().chain(actual.keys()).collect();
    let differs = |name: &&String| declared.get(*name) != actual.get(*name);
    let complaint = |name: &String| {
        let words = |table: &Table| match table.get(name) {
            None => "nothing".to_owned(),
            Some((needs, tests)) => format!("{needs:?}, and for tests {tests:?}"),
        };
        let (wanted, is) = (words(declared), words(actual));
        let what = format!(
            "`{name}` depends on {is}, the table says {wanted}; undo the dependency, or argue it in \
             a decision and change the table"
        );
        Complaint::new(PAGE, what)
    };
    names.into_iter().filter(differs).map(complaint).collect()
}

fn forbidden(package: &Package) -> Vec<Complaint> {
    let manifest = format!("{}/Cargo.toml", package.name);
    let needs = |name: &str| package.depends_on("normal").iter().any(|other| other == name);
    let mut complaints = Vec::new();
    if !["xtask", "bench"].contains(&package.name.as_str()) && needs("tidegate-conformance") {
        let what = "the suite is a dev-dependency only: what is shipped does not carry its tests";
        complaints.push(Complaint::new(manifest.clone(), what));
    }
    if package.name == "tidegate-core" {
        let found = NOT_IN_CORE.iter().filter(|name| needs(name));
        complaints.extend(found.map(|name| {
            let what = format!("core does without `{name}`: put what needs it into an adapter");
            Complaint::new(manifest.clone(), what)
        }));
    }
    complaints
}

/// Calls that a layer leaves to one of its files.
fn touches(sources: &[Source]) -> Vec<Complaint> {
    const RULES: [(&str, &str, &str); 4] = [
        ("crates/core/src/", "std::fs", "core knows no disk"),
        ("crates/core/src/", "std::net", "core knows no network"),
        ("crates/core/src/", "tokio::", "core knows no runtime"),
        ("crates/engine/src/", "std::fs", "only disk.rs touches files: ask a `Disk`"),
    ];
    let mut complaints = Vec::new();
    for (under, text, why) in RULES {
        let there = sources.iter().filter(|source| source.path.starts_with(under));
        let there = there.filter(|source| source.path != "crates/engine/src/disk.rs");
        for source in there {
            let lines = source.without_unit_tests().lines().enumerate();
            let found = lines.filter(|(_, line)| line.contains(text));
            complaints.extend(found.map(|(number, _)| {
                let place = format!("{}:{}", source.path, number + 1);
                Complaint::new(place, format!("`{text}`: {why}"))
            }));
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE_TEXT: &str = "## Who may depend on whom\n\ntext\n\n| package | on | tests |\n\
                             |---|---|---|\n| `a` | - | `c` |\n| `b` | `a`, `c` | - |\n\n| x |\n";

    #[test]
    fn the_table_is_read_to_its_end() {
        let table = read_table(PAGE_TEXT).unwrap();
        assert_eq!(table.keys().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(table["b"].0, ["a".to_owned(), "c".to_owned()].into());
        assert_eq!(table["a"].1, ["c".to_owned()].into());
        assert_eq!(read_table("no table"), None);
    }

    #[test]
    fn a_dependency_that_the_table_lacks_is_named() {
        let declared = read_table(PAGE_TEXT).unwrap();
        let mut actual = declared.clone();
        actual.get_mut("a").unwrap().0.insert("b".into());
        let found = differences(&declared, &actual);
        assert_eq!(found.len(), 1);
        assert!(found[0].what.contains("`a`"), "{}", found[0]);
        assert_eq!(differences(&declared, &declared), []);
    }

    #[test]
    fn files_are_touched_by_the_disk_alone() {
        let source = |path: &str| Source { path: path.into(), text: "use std::fs;\n".into() };
        assert_eq!(touches(&[source("crates/engine/src/log/mod.rs")]).len(), 1);
        assert_eq!(touches(&[source("crates/core/src/id.rs")]).len(), 1);
        assert_eq!(touches(&[source("crates/engine/src/disk.rs")]), []);
    }
}
