//! `tidegate serve access-key`: a new access key of the SQS port, and what the server has to know of it.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Args;
use serde::Serialize;

use crate::app::App;
use crate::failure::Failure;

/// Bytes of a new secret: 40 characters, as AWS's have.
const SECRET_BYTES: usize = 30;

/// Make a new access key for SQS
///
/// Prints a new random secret, for the client, and the entry for the file of --access-keys, which has the
/// secret too. The rights in the entry are an example: give what is needed.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  tidegate serve access-key mailer
  tidegate serve access-key 111122223333 --json")]
pub(super) struct AccessKey {
    /// Its id: what the client gives as its access key. Twelve digits are an account of their own
    #[arg(value_parser = super::token::name)]
    id: String,
}

#[derive(Serialize)]
struct Answer<'a> {
    id: &'a str,
    secret: &'a str,
    entry: String,
}

pub(super) fn run(app: &App, args: &AccessKey) -> Result<(), Failure> {
    let mut bytes = [0; SECRET_BYTES];
    getrandom::fill(&mut bytes)
        .map_err(|error| Failure::failed(format!("the system gives no random bytes: {error}")))?;
    let (id, secret) = (args.id.as_str(), URL_SAFE_NO_PAD.encode(bytes));
    let entry = format!(
        "- id: \"{id}\"\n  secret: \"{secret}\"\n  rights:\n    - queues: \"*\"\n      actions: \
         [send, receive, inspect]\n"
    );
    let text = format!(
        "For the client:\n\nAWS_ACCESS_KEY_ID={id}\nAWS_SECRET_ACCESS_KEY={secret}\n\nThe entry for the \
         file of --access-keys:\n\n{entry}"
    );
    app.output.answer(&Answer { id, secret: &secret, entry }, text.trim_end())
}
