//! Asking before something is destroyed.

use std::io::{self, BufRead, IsTerminal};

use crate::exit::Exit;
use crate::failure::Failure;

/// Goes on if the user agrees. Without a terminal only `--yes` agrees.
pub(crate) fn before(what: &str, yes: bool) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        let text = format!("this would {what}, and there is no terminal to ask");
        return Err(Failure::usage(text).with_help("add --yes if that is what you want"));
    }
    eprint!("This will {what}. Go on? [y/N] ");
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    let agreed = read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes");
    if agreed {
        return Ok(());
    }
    eprintln!("nothing was changed");
    Err(Failure::silent(Exit::Failed))
}
