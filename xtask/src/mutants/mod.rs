//! `mutants`: puts known bugs into the engine, one at a time, and looks which check finds each.

mod list;
mod tree;

use std::process::ExitCode;

use clap::Args;

use list::{ALL, Mutant};
use tree::Tree;

/// Which bugs, and how hard to look.
#[derive(Debug, Args)]
pub(crate) struct MutantsArgs {
    /// Only bugs whose name has this in it; may be given more than once
    #[arg(long)]
    only: Vec<String>,
    /// Seeds of the simulation that each must be found within
    #[arg(long, default_value_t = 4_000)]
    seeds: u64,
}

/// A check that may find a bug, cheapest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layer {
    /// The engine's own tests, the model test and the conformance suite among them.
    Tests,
    /// Seeds of the simulated machine.
    Simulation,
}

impl Layer {
    const ALL: [Self; 2] = [Self::Simulation, Self::Tests];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Tests => "tests",
            Self::Simulation => "simulation",
        }
    }

    /// What it runs, by cargo.
    fn arguments(self, seeds: &str) -> Vec<&str> {
        match self {
            Self::Tests => vec!["test", "--package", "tidegate-engine", "--lib", "--tests"],
            Self::Simulation => {
                let run = ["run", "--profile", "soon", "--package", "xtask", "--"];
                [&run[..], &["simulate", "--first", "--seeds", seeds]].concat()
            }
        }
    }
}

/// What became of a bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    By(Layer),
    /// It does not compile: then it is no bug that anybody could have.
    NotBuilt,
    Never,
}

pub(crate) fn main(args: &MutantsArgs) -> ExitCode {
    match run(args) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

/// Tries all bugs and tells how many no check has found.
fn run(args: &MutantsArgs) -> Result<usize, String> {
    let tree = Tree::copy()?;
    let seeds = args.seeds.to_string();
    for layer in Layer::ALL {
        if !tree.cargo_at_first(&layer.arguments(&seeds))? {
            return Err(format!("without a bug, the {} fail already", layer.as_str()));
        }
    }
    let named = |mutant: &Mutant| args.only.iter().any(|part| mutant.name.contains(part));
    let is_wanted = |mutant: &&Mutant| args.only.is_empty() || named(mutant);
    let wanted: Vec<&Mutant> = ALL.iter().filter(is_wanted).collect();
    let mut missed = 0;
    for mutant in &wanted {
        let found = tree.with(mutant, || try_one(&tree, &seeds))?;
        let told = match found {
            Found::By(layer) => layer.as_str(),
            Found::NotBuilt => "DOES NOT BUILD",
            Found::Never => "NOT FOUND",
        };
        missed += usize::from(!matches!(found, Found::By(_)));
        println!("{:<64} {told}", mutant.name);
    }
    println!("{} bugs, {missed} not found", wanted.len());
    Ok(missed)
}

fn try_one(tree: &Tree, seeds: &str) -> Result<Found, String> {
    if !tree.cargo(&["check", "--package", "tidegate-engine", "--features", "simulation"])? {
        return Ok(Found::NotBuilt);
    }
    for layer in Layer::ALL {
        if !tree.cargo(&layer.arguments(seeds))? {
            return Ok(Found::By(layer));
        }
    }
    Ok(Found::Never)
}
