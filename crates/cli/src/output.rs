//! What is written for people and for programs.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

use comfy_table::{Cell, CellAlignment, Table};
use serde::Serialize;

use crate::exit::Exit;
use crate::failure::Failure;

/// How a command answers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    /// Whether a program reads stdout.
    pub(crate) json: bool,
}

impl Output {
    /// One JSON value on stdout.
    pub(crate) fn json(self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(value);
        line(text.map_err(|error| Failure::failed(format!("could not write JSON: {error}")))?)
    }

    /// JSON on stdout for programs, or `text` on stdout for people.
    pub(crate) fn answer(self, value: &impl Serialize, text: impl Display) -> Result<(), Failure> {
        if self.json { self.json(value) } else { line(text) }
    }

    /// JSON on stdout for programs, and `text` on stderr for people either way.
    pub(crate) fn account(self, value: &impl Serialize, text: impl Display) -> Result<(), Failure> {
        eprintln!("{text}");
        if self.json { self.json(value) } else { Ok(()) }
    }
}

/// One line on stdout. A reader that went away, as `head` does, ends the command quietly.
pub(crate) fn line(text: impl Display) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(Failure::silent(Exit::Done)),
        Err(error) => Err(Failure::failed(format!("could not write to stdout: {error}"))),
    }
}

/// A table on stdout, without blanks at the ends of its lines.
pub(crate) fn rows(table: &Table) -> Result<(), Failure> {
    line(table.trim_fmt())
}

/// A table with these headings and no lines.
pub(crate) fn table(headings: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(comfy_table::presets::NOTHING);
    table.set_header(headings);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table
}

/// A table of names and what they mean, without headings.
pub(crate) fn pairs<T: Display>(rows: impl IntoIterator<Item = (&'static str, T)>) -> Table {
    let mut table = Table::new();
    table.load_preset(comfy_table::presets::NOTHING);
    for (name, meaning) in rows {
        table.add_row([name.to_owned(), meaning.to_string()]);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table
}

/// A number in a table, to the right.
pub(crate) fn number(number: impl Display) -> Cell {
    Cell::new(number).set_alignment(CellAlignment::Right)
}

/// A text cut to `most` characters, on one line.
pub(crate) fn cut(text: &str, most: usize) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if line.chars().count() <= most {
        return line;
    }
    let kept: String = line.chars().take(most.saturating_sub(1)).collect();
    format!("{kept}…")
}
