//! Progress on stderr, where that is a terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

const BAR: &str = "{msg} {wide_bar:.cyan/dim} {human_pos}/{human_len}  {per_sec}";
const SPINNER: &str = "{spinner} {msg}  {human_pos}  {per_sec}";

/// A bar up to `total`, or a count without an end. Invisible where stderr is no terminal.
pub(crate) fn bar(message: impl Into<String>, total: Option<u64>) -> ProgressBar {
    let bar = total.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
    let template = if total.is_some() { BAR } else { SPINNER };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_message(message.into());
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}
