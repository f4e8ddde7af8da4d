//! What an identity may do: each action of the protocol needs a right of ours.

use tidegate_core::{self as core, Access, Operation, QueueName};

use crate::sqs::{Action, Code, Failure, Namespace, QueuePath};

/// What an action needs on the queue that it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// This right.
    Right(core::Action),
    /// Any right at all.
    Any,
    /// None: what it shows is what they have rights on.
    Nothing,
}

/// What `action` needs.
pub(crate) const fn need(action: Action) -> Need {
    match action {
        Action::SendMessage | Action::SendMessageBatch => Need::Right(core::Action::Send),
        Action::ReceiveMessage
        | Action::DeleteMessage
        | Action::DeleteMessageBatch
        | Action::ChangeMessageVisibility
        | Action::ChangeMessageVisibilityBatch => Need::Right(core::Action::Receive),
        Action::GetQueueAttributes
        | Action::ListQueueTags
        | Action::ListDeadLetterSourceQueues
        | Action::ListMessageMoveTasks => Need::Right(core::Action::Inspect),
        Action::CreateQueue
        | Action::DeleteQueue
        | Action::SetQueueAttributes
        | Action::PurgeQueue
        | Action::TagQueue
        | Action::UntagQueue
        | Action::AddPermission
        | Action::RemovePermission
        | Action::StartMessageMoveTask
        | Action::CancelMessageMoveTask => Need::Right(core::Action::Administer),
        Action::GetQueueUrl => Need::Any,
        Action::ListQueues => Need::Nothing,
    }
}

/// Refuses `action` on a queue unless there is a right to it. `own` is where the caller's queues are. The
/// answer is the same whether the queue exists or not.
pub(crate) fn admit(
    access: &Access,
    own: &Namespace,
    action: Action,
    queue: &QueuePath,
) -> Result<(), Failure> {
    let is_allowed = match need(action) {
        Need::Right(right) => has(access, own, right, queue),
        Need::Any => sees(access, own, queue),
        Need::Nothing => true,
    };
    if is_allowed { Ok(()) } else { Err(denied(access, own, action, queue)) }
}

/// Whether there is any right on a queue: only then it is listed.
pub(crate) fn sees(access: &Access, own: &Namespace, queue: &QueuePath) -> bool {
    named(access, own, queue).is_ok_and(|name| name.is_none_or(|name| access.sees(&name)))
}

fn has(access: &Access, own: &Namespace, right: core::Action, queue: &QueuePath) -> bool {
    named(access, own, queue).is_ok_and(|name| {
        name.is_none_or(|name| access.require(right, &name, Operation::Inspect).is_ok())
    })
}

/// What rights know the queue by; nothing where they are not asked. An error is another account's queue.
fn named(access: &Access, own: &Namespace, queue: &QueuePath) -> Result<Option<QueueName>, ()> {
    if access.name().is_none() {
        return Ok(None);
    }
    if queue.namespace.account != own.account {
        return Err(());
    }
    QueueName::new(&queue.name).map(Some).map_err(|_| ())
}

fn denied(access: &Access, own: &Namespace, action: Action, queue: &QueuePath) -> Failure {
    let (account, user) = (&own.account, access.name().unwrap_or_default());
    let action = action.name().trim_end_matches("Batch").to_ascii_lowercase();
    Code::AccessDenied.because(format!(
        "User: arn:aws:iam::{account}:user/{user} is not authorized to perform: sqs:{action} on \
         resource: {} because no identity-based policy allows the sqs:{action} action",
        queue.arn()
    ))
}

#[cfg(test)]
mod tests {
    use tidegate_core::{Pattern, Right};

    use super::*;

    fn access(queues: &str, actions: &[core::Action]) -> Access {
        let queues = Pattern::new(queues).unwrap();
        Access::of("shop", [Right { queues, actions: actions.to_vec() }])
    }

    fn queue(account: &str, name: &str) -> QueuePath {
        let namespace = Namespace { account: account.into(), ..Namespace::default() };
        namespace.queue(name).unwrap()
    }

    fn may(access: &Access, action: Action, queue: &QueuePath) -> bool {
        admit(access, &Namespace::default(), action, queue).is_ok()
    }

    #[test]
    fn each_action_needs_what_the_guide_says() {
        let page = include_str!("../../../../docs/guide/sqs-access.md");
        let rows = page.lines().filter(|line| line.starts_with("| `") || line.starts_with("| any"));
        let mut told: Vec<(&str, &str)> = Vec::new();
        for row in rows {
            let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
            let [right, actions] = cells[..] else { continue };
            told.extend(actions.split(", ").map(|action| (action, right.trim_matches('`'))));
        }
        let need = |action: &Action| match need(*action) {
            Need::Right(right) => (action.name(), right.as_str()),
            Need::Any => (action.name(), "any"),
            Need::Nothing => (action.name(), "any, of each that is listed"),
        };
        let mut needed: Vec<_> = Action::ALL.iter().map(need).collect();
        told.sort_unstable();
        needed.sort_unstable();
        assert_eq!(told, needed);
    }

    #[test]
    fn what_no_right_allows_is_denied() {
        let (mail, other) = (queue("000000000000", "mail.fifo"), queue("000000000000", "orders"));
        for action in Action::ALL {
            for right in core::Action::ALL {
                let access = access("mail*", &[right]);
                let is_enough = match need(*action) {
                    Need::Right(needed) => needed == right,
                    Need::Any | Need::Nothing => true,
                };
                assert_eq!(may(&access, *action, &mail), is_enough, "{action:?} by {right}");
                let needs_nothing = need(*action) == Need::Nothing;
                assert_eq!(may(&access, *action, &other), needs_nothing, "{action:?} by {right}");
            }
            assert!(may(&Access::full(), *action, &other));
        }
    }

    #[test]
    fn another_accounts_queues_are_out_of_reach_and_other_regions_are_not() {
        let all = access("*", &core::Action::ALL);
        let mut path = queue("111122223333", "mail");
        assert!(!may(&all, Action::SendMessage, &path) && !may(&all, Action::GetQueueUrl, &path));
        assert!(!sees(&all, &Namespace::default(), &path));
        assert!(may(&Access::full(), Action::SendMessage, &path));
        path.namespace = Namespace { region: "eu-west-1".into(), ..Namespace::default() };
        assert!(may(&all, Action::SendMessage, &path));
    }

    #[test]
    fn a_denial_reads_as_on_aws() {
        let (access, path) = (access("mail*", &[]), queue("000000000000", "mail"));
        let denied = admit(&access, &Namespace::default(), Action::SendMessageBatch, &path);
        let denied = denied.unwrap_err();
        assert_eq!(denied.code, Code::AccessDenied);
        assert_eq!(
            denied.message,
            "User: arn:aws:iam::000000000000:user/shop is not authorized to perform: sqs:sendmessage \
             on resource: arn:aws:sqs:us-east-1:000000000000:mail because no identity-based policy \
             allows the sqs:sendmessage action"
        );
    }
}
