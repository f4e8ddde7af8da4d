//! Progress on stderr, where that is a terminal.

use std::fmt::Write;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressState, ProgressStyle};

use crate::units::grouped;

const BAR: &str = "{msg} {wide_bar:.cyan/dim} {human_pos}/{human_len}  {rate}";
const SPINNER: &str = "{spinner} {msg}  {human_pos}  {rate}";

/// A bar up to `total`, or a count without an end. Invisible where stderr is no terminal.
pub(crate) fn bar(message: impl Into<String>, total: Option<u64>) -> ProgressBar {
    let bar = total.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
    let template = if total.is_some() { BAR } else { SPINNER };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.with_key("rate", rate));
    }
    bar.set_message(message.into());
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

fn rate(state: &ProgressState, to: &mut dyn Write) {
    // A bar that cannot be drawn is not drawn.
    let _ = write!(to, "{}/s", grouped(state.per_sec() as u64));
}
