//! `tidegate serve token`: a new secret, and what the server has to know of it.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Args;
use serde::Serialize;
use tidegate_remote::listen::Digest;

use crate::app::App;
use crate::failure::Failure;

/// Bytes of a new secret: nobody tries 256 bits one after the other.
const SECRET_BYTES: usize = 32;

/// Make a new access token
///
/// Prints a new random secret, for the client, and the entry with its hash, for the file of --tokens.
/// The secret is kept nowhere else. The rights in the entry are an example: give what is needed.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  tidegate serve token mailer
  tidegate serve token mailer --json")]
pub(super) struct Token {
    /// What it is called in the file, in errors and in logs
    #[arg(value_parser = name)]
    name: String,
}

#[derive(Serialize)]
struct Answer<'a> {
    name: &'a str,
    secret: &'a str,
    sha256: String,
    entry: String,
}

pub(super) fn run(app: &App, args: &Token) -> Result<(), Failure> {
    let mut bytes = [0; SECRET_BYTES];
    getrandom::fill(&mut bytes)
        .map_err(|error| Failure::failed(format!("the system gives no random bytes: {error}")))?;
    let secret = URL_SAFE_NO_PAD.encode(bytes);
    let sha256 = Digest::of(&secret).map_err(Failure::failed)?.to_hex();
    let entry = entry(&args.name, &sha256);
    let text = format!(
        "The secret, for the client. It is shown this once:\n\n{secret}\n\nThe entry for the file \
         of --tokens:\n\n{entry}"
    );
    app.output.answer(&Answer { name: &args.name, secret: &secret, sha256, entry }, text.trim_end())
}

/// WHY: in quotes, as a hash can look like a number.
fn entry(name: &str, sha256: &str) -> String {
    format!(
        "- name: \"{name}\"\n  sha256: \"{sha256}\"\n  rights:\n    - queues: \"*\"\n      actions: \
         [send, receive, inspect]\n"
    )
}

/// Names that need no care in YAML, JSON and logs.
pub(super) fn name(text: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if text.is_empty() || text.len() > 64 || !text.chars().all(allowed) {
        return Err("a name has 1 to 64 letters, digits, '_', '-' and '.'".into());
    }
    Ok(text.to_owned())
}
