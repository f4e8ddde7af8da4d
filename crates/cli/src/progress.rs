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
    // WHY: the thread that ticks is not for a bar that nobody sees, nor often for one without an end:
    // a worker with nothing to do costs no processor time.
    if !bar.is_hidden() {
        let tick =
            if total.is_some() { Duration::from_millis(120) } else { Duration::from_secs(1) };
        bar.enable_steady_tick(tick);
    }
    bar
}

fn rate(state: &ProgressState, to: &mut dyn Write) {
    // A bar that cannot be drawn is not drawn.
    let _ = write!(to, "{}/s", grouped(state.per_sec() as u64));
}
