//! `bench plot`: what was measured, as pictures.

mod backlog;
mod engine;
mod picture;

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::de::DeserializeOwned;

use crate::peer::Result;

/// What to draw.
#[derive(Debug, Args)]
pub(crate) struct PlotArgs {
    /// The rows that `bench engine --save` wrote
    #[arg(long, default_value = "bench/results/engine.json")]
    engine: PathBuf,
    /// The rows that `cargo xtask backlog --save` wrote
    #[arg(long, default_value = "bench/results/backlog.json")]
    backlog: PathBuf,
    /// The folder for the pictures
    #[arg(long, default_value = "docs/internals/curves")]
    into: PathBuf,
}

pub(crate) fn run(args: &PlotArgs) -> Result<()> {
    let engine = engine::pictures(&rows(&args.engine)?);
    let backlog = backlog::pictures(&rows(&args.backlog)?);
    fs::create_dir_all(&args.into)?;
    for (name, picture) in engine.into_iter().chain(backlog) {
        picture.draw(&args.into.join(name).with_extension("svg"))?;
    }
    Ok(())
}

fn rows<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    let told = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let text = fs::read_to_string(path).map_err(|error| told(&error))?;
    Ok(serde_json::from_str(&text).map_err(|error| told(&error))?)
}
