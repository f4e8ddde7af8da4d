//! The file of access keys of the SQS port: a list of ids, secrets and rights.
//!
//! What is wrong with it is told by its place alone: no line of the file is shown.

use std::path::Path;

use serde_saphyr::Location;
use tidegate_server::auth::{Keys, Secret};

use super::guarded::Guarded;
use super::node::Node;
use super::problem::Problem;
use super::yaml::File;

/// Reads the file at `path`. The first thing that is wrong with it is the error.
pub(crate) fn load(path: &Path) -> Result<Keys, Problem> {
    let guarded = Guarded::open(path)?;
    guarded.check(path, true)?;
    read(path, &guarded.text)
}

fn read(path: &Path, text: &str) -> Result<Keys, Problem> {
    let file = File { path, text, has_secrets: true };
    let nobody = |at| {
        file.problem(at, "there are no access keys in it, so nobody could come in".to_owned())
            .with_help("`tidegate serve access-key NAME` makes one")
    };
    let root = file.root()?.ok_or_else(|| nobody(Location::UNKNOWN))?;
    let at = root.at;
    let mut keys = Keys::new();
    for entry in
        file.list(root, "the file is not a list of access keys; begin each with `- id:`")?
    {
        file.access_key(entry, &mut keys)?;
    }
    if keys.is_empty() { Err(nobody(at)) } else { Ok(keys) }
}

impl File<'_> {
    fn access_key(&self, entry: Node, keys: &mut Keys) -> Result<(), Problem> {
        const WHAT: &str = "an access key";
        let at = entry.at;
        let [id, secret, rights] = self.fields(entry, WHAT, ["id", "secret", "rights"])?;
        let id = self.text(self.needed(id, at, WHAT, "id")?, "id")?;
        let secret = self.needed(secret, at, WHAT, "secret")?;
        let place = secret.at;
        let secret = Secret::new(&self.text(secret, "secret")?)
            .map_err(|why| self.problem(place, format!("`secret`: {why}")))?;
        let rights = self.rights(self.needed(rights, at, WHAT, "rights")?)?;
        keys.add(&id, secret, rights).map_err(|why| self.problem(at, why))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::guarded::assert_refused_by_mode;
    use crate::config::refusals;

    const GOOD: &str = r#"
- id: mailer
  secret: hunter2-hunter2-hunter2
  rights:
    - queues: "mail*"
      actions: [send, receive]
- {id: "111122223333", secret: hunter2-hunter2-hunter3, rights: []}
"#;

    #[track_caller]
    fn refuses(before: &str, after: &str, told: &[&str]) {
        refusals::refuses("keys.yaml", GOOD, (before, after), told, read);
    }

    #[test]
    fn the_files_keys_are_known_and_their_secrets_are_not_shown() {
        let keys = read(Path::new("keys.yaml"), GOOD).unwrap();
        assert_eq!(format!("{keys:?}"), r#"["111122223333", "mailer"]"#);
    }

    #[test]
    fn the_example_of_the_guide_is_one() {
        let page = include_str!("../../../../docs/guide/sqs-access.md");
        let (_, example) = page.split_once("```yaml\n").unwrap();
        let (example, _) = example.split_once("```").unwrap();
        assert_eq!(read(Path::new("keys.yaml"), example).unwrap().len(), 2);
    }

    #[test]
    fn what_is_missing_or_wrong_is_told_with_its_place() {
        refuses("secret:", "secrte:", &["keys.yaml:3:3", "`secrte`", "did you mean `secret`?"]);
        refuses("- id: mailer\n  secret", "- secret", &["keys.yaml:2:3", "needs `id`"]);
        refuses("  secret: hunter2-hunter2-hunter2\n", "", &["needs `secret`"]);
        refuses("hunter2-hunter2-hunter2", "hunter2", &["keys.yaml:3:11", "16 characters"]);
        refuses("hunter2-hunter2-hunter2", "[hunter2]", &["keys.yaml:3:11", "not a text"]);
        refuses("mailer", "mail/er", &["keys.yaml:2:3", "1 to 128"]);
        refuses("\"111122223333\"", "mailer", &["keys.yaml:7:3", "\"mailer\" already"]);
        refuses("\"111122223333\"", "111122223333", &["`id` is not a text; put it in quotes"]);
        let same = ["keys.yaml:7:3", "has the secret of \"mailer\""];
        refuses("hunter2-hunter3", "hunter2-hunter2", &same);
        refuses("[send,", "[sent,", &["keys.yaml:6:17", "did you mean `send`?"]);
    }

    #[test]
    fn a_file_that_lets_nobody_in_is_refused() {
        for empty in ["", "# nothing\n", "[]\n"] {
            let told = refusals::told("keys.yaml", empty, read);
            assert!(told.contains("`tidegate serve access-key NAME` makes one"));
        }
        let told = refusals::told("keys.yaml", "keys: []\n", read);
        assert!(told.contains("begin each with `- id:`"));
    }

    #[test]
    fn a_file_that_others_can_read_or_change_is_refused() {
        let modes = [
            (0o600, false),
            (0o640, false),
            (0o400, false),
            (0o644, true),
            (0o602, true),
            (0o660, true),
        ];
        assert_refused_by_mode(GOOD, load, &modes);
    }
}
