//! Keys set by environment variables: `TIDEGATE_QUEUE__MAX_BUFFER_SIZE` is `queue.max_buffer_size`.

use super::keys::{self, KEYS};
use super::problem::{Origin, Problem};
use super::yaml::{Setting, unknown};

/// What every variable of this program starts with.
const PREFIX: &str = "TIDEGATE_";
/// Variables that `tidegate work` gives to the programs it runs, which may run `tidegate` in turn.
const TASK_PREFIX: &str = "TIDEGATE_TASK_";

/// Reads what `variables` set. The first thing that is wrong is the error.
pub(crate) fn read(
    variables: impl Iterator<Item = (String, String)>,
) -> Result<Vec<Setting>, Problem> {
    let ours = variables.filter(|(name, _)| name.starts_with(PREFIX));
    let settings = ours.filter_map(|(name, text)| setting(&name, &text).transpose());
    settings.collect()
}

fn setting(name: &str, text: &str) -> Result<Option<Setting>, Problem> {
    let origin = Origin::Variable(name.to_owned());
    let Some(key) = KEYS.iter().find(|key| key.variable() == name) else {
        return stranger(name, &origin);
    };
    let value = key
        .read_text(text)
        .map_err(|why| Problem::at(&origin, format!("`{}`: {why}", key.path)))?;
    Ok(Some(Setting { key: key.path, value, origin }))
}

/// WHY: only names with `__` are taken for keys. Others are none of ours: Kubernetes gives every
/// container `TIDEGATE_PORT` and the like for a service of that name.
fn stranger(name: &str, origin: &Origin) -> Result<Option<Setting>, Problem> {
    let path = name.strip_prefix(PREFIX).unwrap_or(name);
    if name.starts_with(TASK_PREFIX) || !path.contains("__") {
        return Ok(None);
    }
    let path = path.replace("__", ".").to_ascii_lowercase();
    let problem = Problem::at(origin, format!("unknown key `{path}`"));
    Err(match keys::nearest(&path).and_then(keys::find) {
        Some(near) => problem.with_help(format!("did you mean {}?", near.variable())),
        None => unknown(&path, problem),
    })
}

#[cfg(test)]
mod tests {
    use super::super::value::Value;
    use super::*;

    fn read_one(name: &str, text: &str) -> Result<Vec<Setting>, Problem> {
        read([(name.to_owned(), text.to_owned())].into_iter())
    }

    #[test]
    fn every_form_of_value_is_read_from_text() {
        let value = |name, text| read_one(name, text).unwrap().remove(0).value;
        assert_eq!(value("TIDEGATE_QUEUE__MAX_BUFFER_SIZE", "12"), Value::Count(12));
        assert_eq!(value("TIDEGATE_QUEUE__MAX_BUFFER_SIZE", "unbounded"), Value::Unbounded);
        assert_eq!(value("TIDEGATE_RETRY_POLICY__MULTIPLIER", "3"), Value::Factor(3.0));
        assert_eq!(value("TIDEGATE_BROKER", "embedded:./x"), Value::text("embedded:./x"));
        assert_eq!(value("TIDEGATE_KAFKA_BROKER__ACKS", "1"), Value::text("1"));
        let servers = value("TIDEGATE_KAFKA_BROKER__BOOTSTRAP_SERVERS", "a:1, b:2");
        assert_eq!(servers, Value::List(vec![Value::text("a:1"), Value::text("b:2")]));
    }

    #[test]
    fn an_unknown_key_names_the_nearest_variable_and_a_strange_name_is_let_be() {
        let error = read_one("TIDEGATE_QUEUE__MAX_BUFER_SIZE", "1").unwrap_err();
        let help = miette::Diagnostic::help(&error).unwrap().to_string();
        assert!(help.contains("TIDEGATE_QUEUE__MAX_BUFFER_SIZE"), "{help}");
        for name in ["TIDEGATE_PORT", "TIDEGATE_TASK_HEADER_A__B", "PATH", "TIDEGATE_CONFIG"] {
            assert_eq!(read_one(name, "x").unwrap(), Vec::new(), "{name}");
        }
    }

    #[test]
    fn a_bad_value_names_its_variable() {
        let error = read_one("TIDEGATE_QUEUE__LEASE", "soon").unwrap_err().to_string();
        assert!(error.starts_with("TIDEGATE_QUEUE__LEASE: `queue.lease`"), "{error}");
    }
}
