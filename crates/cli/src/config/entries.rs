//! Files that are lists of entries with rights: access tokens and access keys.

use serde_saphyr::Location;
use tidegate::{Action, Pattern, Right};

use super::keys::nearest_of;
use super::node::{Node, Tree};
use super::problem::Problem;
use super::value::Value;
use super::yaml::File;

impl File<'_> {
    pub(super) fn rights(&self, node: Node) -> Result<Vec<Right>, Problem> {
        let rights = self.list(node, "`rights` is a list; begin each with `- queues:`")?;
        rights.into_iter().map(|right| self.right(right)).collect()
    }

    fn right(&self, entry: Node) -> Result<Right, Problem> {
        let at = entry.at;
        let [queues, actions] = self.fields(entry, "a right", ["queues", "actions"])?;
        let queues = self.needed(queues, at, "a right", "queues")?;
        let place = queues.at;
        let queues = Pattern::new(self.text(queues, "queues")?)
            .map_err(|why| self.problem(place, format!("`queues`: {why}")))?;
        let actions = self.needed(actions, at, "a right", "actions")?;
        let actions = self.list(actions, "`actions` is a list, such as `[send, receive]`")?;
        let actions: Result<_, _> = actions.into_iter().map(|action| self.action(action)).collect();
        Ok(Right { queues, actions: actions? })
    }

    fn action(&self, node: Node) -> Result<Action, Problem> {
        let at = node.at;
        let word = self.text(node, "actions")?;
        word.parse().map_err(|why| {
            let problem = self.problem(at, format!("`actions`: {why}"));
            did_you_mean(problem, nearest_of(&word, &Action::ALL.map(Action::as_str)))
        })
    }

    /// The values of a map's keys, of which there are these and no others.
    pub(super) fn fields<const N: usize>(
        &self,
        node: Node,
        what: &str,
        known: [&'static str; N],
    ) -> Result<[Option<Node>; N], Problem> {
        let words = known.map(|key| format!("`{key}`")).join(", ");
        let Tree::Map(entries) = node.tree else {
            return Err(self.problem(node.at, format!("{what} has the keys {words}")));
        };
        let mut values = [const { None }; N];
        for (name, value) in entries {
            let place = known.iter().zip(&mut values).find(|(key, _)| **key == name.value);
            let Some((_, place)) = place else {
                let what = format!("unknown key `{}`: {what} has {words}", name.value);
                let problem = self.problem(name.referenced, what);
                return Err(did_you_mean(problem, nearest_of(&name.value, &known)));
            };
            *place = Some(value);
        }
        Ok(values)
    }

    pub(super) fn needed(
        &self,
        value: Option<Node>,
        at: Location,
        what: &str,
        key: &str,
    ) -> Result<Node, Problem> {
        value.ok_or_else(|| self.problem(at, format!("{what} needs `{key}`")))
    }

    pub(super) fn list(&self, node: Node, otherwise: &str) -> Result<Vec<Node>, Problem> {
        match node.tree {
            Tree::List(parts) => Ok(parts),
            Tree::Leaf(_) | Tree::Map(_) => Err(self.problem(node.at, otherwise.to_owned())),
        }
    }

    pub(super) fn text(&self, node: Node, key: &str) -> Result<String, Problem> {
        match node.tree {
            Tree::Leaf(Value::Text(text)) => Ok(text),
            _ => Err(self.problem(node.at, format!("`{key}` is not a text; put it in quotes"))),
        }
    }
}

fn did_you_mean(problem: Problem, near: Option<&str>) -> Problem {
    match near {
        Some(near) => problem.with_help(format!("did you mean `{near}`?")),
        None => problem,
    }
}
