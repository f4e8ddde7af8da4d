//! The file of access tokens: a list of names, secrets and rights.
//!
//! What is wrong with it is told by its place alone: no line of the file is shown.

use std::path::Path;

use serde_saphyr::Location;
use tidegate_remote::listen::{Digest, Tokens};

use super::guarded::Guarded;
use super::node::Node;
use super::problem::Problem;
use super::yaml::File;

/// Reads the file at `path`. The first thing that is wrong with it is the error.
pub(crate) fn load(path: &Path) -> Result<Tokens, Problem> {
    let guarded = Guarded::open(path)?;
    let (tokens, has_secrets) = read_all(path, &guarded.text)?;
    guarded.check(path, has_secrets)?;
    Ok(tokens)
}

/// The tokens, and whether a secret stands there as it is.
fn read_all(path: &Path, text: &str) -> Result<(Tokens, bool), Problem> {
    let file = File { path, text, has_secrets: true };
    let nobody = |at| {
        file.problem(at, "there are no tokens in it, so nobody could come in".to_owned())
            .with_help("`tidegate serve token NAME` makes one")
    };
    let root = file.root()?.ok_or_else(|| nobody(Location::UNKNOWN))?;
    let at = root.at;
    let (mut tokens, mut has_secrets) = (Tokens::new(), false);
    for entry in file.list(root, "the file is not a list of tokens; begin each with `- name:`")? {
        has_secrets |= file.token(entry, &mut tokens)?;
    }
    if tokens.is_empty() { Err(nobody(at)) } else { Ok((tokens, has_secrets)) }
}

impl File<'_> {
    /// Adds a token, and tells whether its secret stands there as it is.
    fn token(&self, entry: Node, tokens: &mut Tokens) -> Result<bool, Problem> {
        let at = entry.at;
        let [name, sha256, secret, rights] =
            self.fields(entry, "a token", ["name", "sha256", "secret", "rights"])?;
        let name = self.text(self.needed(name, at, "a token", "name")?, "name")?;
        let is_secret = secret.is_some();
        let digest = self.digest(at, sha256, secret)?;
        let rights = self.rights(self.needed(rights, at, "a token", "rights")?)?;
        tokens.add(&name, digest, rights).map_err(|why| self.problem(at, why))?;
        Ok(is_secret)
    }

    fn digest(
        &self,
        at: Location,
        sha256: Option<Node>,
        secret: Option<Node>,
    ) -> Result<Digest, Problem> {
        let (node, key) = match (sha256, secret) {
            (Some(node), None) => (node, "sha256"),
            (None, Some(node)) => (node, "secret"),
            _ => {
                let what = "a token has either `sha256`, the hash of its secret, or `secret`";
                return Err(self.problem(at, what.to_owned()));
            }
        };
        let at = node.at;
        let text = self.text(node, key)?;
        let digest = if key == "secret" { Digest::of(&text) } else { Digest::from_hex(&text) };
        digest.map_err(|why| self.problem(at, format!("`{key}`: {why}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::guarded::assert_refused_by_mode;
    use crate::config::refusals;
    use tidegate::{Action, Operation, QueueName};

    const GOOD: &str = r#"
# Who may come in.
- name: mailer
  secret: hunter2-hunter2-hunter2
  rights:
    - queues: "mail.*"
      actions: [send, receive]
- name: watcher
  sha256: "0000000000000000000000000000000000000000000000000000000000000000"
  rights:
    - {queues: "*", actions: [inspect]}
"#;

    #[track_caller]
    fn refuses(before: &str, after: &str, told: &[&str]) {
        refusals::refuses("tokens.yaml", GOOD, (before, after), told, read);
    }

    #[test]
    fn a_secret_gets_the_rights_that_stand_beside_it() {
        let tokens = read(Path::new("tokens.yaml"), GOOD).unwrap();
        assert_eq!(tokens.len(), 2);
        let access = tokens.check("hunter2-hunter2-hunter2").unwrap();
        let queue = QueueName::new("mail.in").unwrap();
        assert!(access.require(Action::Receive, &queue, Operation::Receive).is_ok());
        assert!(access.require(Action::Inspect, &queue, Operation::Inspect).is_err());
    }

    #[test]
    fn the_example_of_the_guide_is_one() {
        let page = include_str!("../../../../docs/guide/serve.md");
        let (_, example) = page.split_once("```yaml\n").unwrap();
        let (example, _) = example.split_once("```").unwrap();
        assert_eq!(read(Path::new("tokens.yaml"), example).unwrap().len(), 2);
    }

    #[test]
    fn an_unknown_key_is_told_with_its_place_and_the_nearest() {
        refuses("secret:", "secrte:", &["tokens.yaml:4:3", "`secrte`", "did you mean `secret`?"]);
        refuses("queues:", "queue:", &["tokens.yaml:6:7", "`queue`", "did you mean `queues`?"]);
        refuses("[send,", "[sent,", &["tokens.yaml:7:17", "\"sent\"", "did you mean `send`?"]);
    }

    #[test]
    fn what_is_missing_or_wrong_is_told_with_its_place() {
        refuses("- name: mailer\n  secret", "- secret", &["tokens.yaml:3:3", "needs `name`"]);
        refuses("  secret: hunter2-hunter2-hunter2\n", "", &["either `sha256`", "or `secret`"]);
        refuses("hunter2-hunter2-hunter2", "hunter2", &["tokens.yaml:4:11", "16 characters"]);
        refuses("hunter2-hunter2-hunter2", "[hunter2]", &["tokens.yaml:4:11", "not a text"]);
        refuses("hunter2-hunter2-hunter2", "*hunter2", &["tokens.yaml:4:11", "not YAML"]);
        refuses("\"0000", "\"000", &["tokens.yaml:9:11", "64 hexadecimal digits"]);
        refuses("\"mail.*\"", "\"mail/*\"", &["tokens.yaml:6:15", "'/'"]);
        refuses("[send, receive]", "send", &["tokens.yaml:7:16", "is a list"]);
        refuses("watcher", "mailer", &["tokens.yaml:8:3", "a token \"mailer\" already"]);
        refuses("name: watcher", "name: x\n  name: y", &["duplicate key `name`"]);
    }

    #[test]
    fn a_file_that_lets_nobody_in_is_refused() {
        for empty in ["", "# nothing\n", "[]\n"] {
            let told = refusals::told("tokens.yaml", empty, read);
            assert!(told.contains("`tidegate serve token NAME` makes one"));
        }
        let told = refusals::told("tokens.yaml", "tokens: []\n", read);
        assert!(told.contains("begin each with `- name:`"));
    }

    fn read(path: &Path, text: &str) -> Result<Tokens, Problem> {
        read_all(path, text).map(|(tokens, _)| tokens)
    }

    #[test]
    fn a_file_that_others_can_change_is_refused_and_one_with_secrets_that_they_can_read() {
        let modes = [(0o600, false), (0o640, false), (0o644, true), (0o602, true), (0o660, true)];
        assert_refused_by_mode(GOOD, load, &modes);
        let (_, hashed) = GOOD.split_once("- name: watcher").unwrap();
        let hashed = format!("- name: watcher{hashed}");
        assert_refused_by_mode(&hashed, load, &[(0o644, false), (0o646, true), (0o664, true)]);
    }
}
