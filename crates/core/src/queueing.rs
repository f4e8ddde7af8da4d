//! Whether requests stand in line for a thread.
//!
//! A server whose threads each answer many connections tells here what it sees, and a broker asks before it
//! holds such a thread up: what is quickest for one who is alone, such as waiting for the disk right there,
//! is slow for all when others wait behind. Of other threads nothing is known, and nobody stands in line.

use std::cell::Cell;

thread_local! {
    /// Requests since the thread last had nothing to do; `None` if nobody tells.
    static IN_LINE: Cell<Option<u32>> = const { Cell::new(None) };
}

/// This thread has nothing to do now. A thread that says so has to say it every time, and
/// [`request_came`] for each request.
pub fn thread_is_idle() {
    IN_LINE.set(Some(0));
}

/// A request came to this thread.
pub fn request_came() {
    IN_LINE.set(IN_LINE.get().map(|count| count.saturating_add(1)));
}

/// Whether more than one request came to this thread since it last had nothing to do.
pub fn is_in_line() -> bool {
    IN_LINE.get().is_some_and(|count| count > 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_stand_in_line_until_their_thread_is_idle() {
        thread_is_idle();
        request_came();
        assert!(!is_in_line(), "one is alone");
        request_came();
        assert!(is_in_line());
        thread_is_idle();
        assert!(!is_in_line());
    }

    #[test]
    fn a_thread_that_nobody_tells_of_has_no_line() {
        request_came();
        request_came();
        assert!(!is_in_line());
    }
}
