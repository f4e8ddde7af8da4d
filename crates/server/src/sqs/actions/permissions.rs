//! `AddPermission` and `RemovePermission`: they edit the queue's policy.

use serde_json::{Value, json};

use super::batch::is_id;
use crate::sqs::account::{QueuePath, is_account};
use crate::sqs::attributes::Attributes;
use crate::sqs::errors::{Code, Failure};
use crate::sqs::limits::PERMISSION_ACTIONS_MAX;
use crate::sqs::service::Call;
use crate::sqs::shapes::{AddPermissionRequest, RemovePermissionRequest};
use crate::sqs::wire::{Answer, Request};

/// What others can be let do.
const ACTIONS: &[&str] = &[
    "*",
    "ChangeMessageVisibility",
    "DeleteMessage",
    "GetQueueAttributes",
    "GetQueueUrl",
    "ListDeadLetterSourceQueues",
    "PurgeQueue",
    "ReceiveMessage",
    "SendMessage",
];

pub(super) async fn add(call: &Call<'_>, request: &Request<'_>) -> Result<Answer, Failure> {
    let AddPermissionRequest { queue_url, label, aws_account_ids, actions } = request.parse()?;
    let path = call.path(queue_url.as_deref())?;
    let label = checked_label(label)?;
    let accounts = some(aws_account_ids.map(|ids| ids.0), "AWSAccountIds")?;
    let actions = some(actions.map(|actions| actions.0), "Actions")?;
    if actions.len() > PERMISSION_ACTIONS_MAX {
        let count = actions.len();
        let why =
            format!("{count} Actions were found, maximum allowed is {PERMISSION_ACTIONS_MAX}.");
        return Err(Code::OverLimit.because(why));
    }
    if let Some(action) = actions.iter().find(|action| !ACTIONS.contains(&action.as_str())) {
        let why = "Please refer to the appropriate WSDL for a list of valid actions.";
        let why = format!("Value SQS:{action} for parameter ActionName is invalid. Reason: {why}");
        return Err(Code::InvalidParameterValue.because(why));
    }
    if let Some(account) = accounts.iter().find(|account| !is_account(account)) {
        let why = "Unable to verify.";
        return Err(Failure::value(format!("[{account}]"), "PrincipalId", why));
    }
    let statement = json!({
        "Sid": label,
        "Effect": "Allow",
        "Principal": { "AWS": one_or_all(accounts.iter().map(|it| format!("arn:aws:iam::{it}:root")).collect()) },
        "Action": one_or_all(actions.iter().map(|it| format!("SQS:{it}")).collect()),
        "Resource": path.arn(),
    });
    edit(call, &path, |statements| {
        if statements.iter().any(|it| it.get("Sid").and_then(Value::as_str) == Some(&label)) {
            return Err(Failure::value(&label, "Label", "Already exists."));
        }
        statements.push(statement.clone());
        Ok(())
    })
    .await
}

pub(super) async fn remove(call: &Call<'_>, request: &Request<'_>) -> Result<Answer, Failure> {
    let RemovePermissionRequest { queue_url, label } = request.parse()?;
    let path = call.path(queue_url.as_deref())?;
    let label = checked_label(label)?;
    edit(call, &path, |statements| {
        let before = statements.len();
        statements.retain(|it| it.get("Sid").and_then(Value::as_str) != Some(&label));
        if statements.len() == before {
            let why = "can't find label on existing policy.";
            return Err(Failure::value(&label, "Label", why));
        }
        Ok(())
    })
    .await
}

fn checked_label(label: Option<String>) -> Result<String, Failure> {
    let label = label.filter(|it| !it.is_empty()).ok_or_else(|| Failure::missing("Label"))?;
    if is_id(&label) {
        return Ok(label);
    }
    let why =
        "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length.";
    Err(Failure::value(label, "Label", why))
}

fn some(list: Option<Vec<String>>, name: &str) -> Result<Vec<String>, Failure> {
    list.filter(|list| !list.is_empty()).ok_or_else(|| Failure::missing(name))
}

/// As AWS writes it: a list only of more than one.
fn one_or_all(mut texts: Vec<String>) -> Value {
    if texts.len() == 1 { texts.pop().into() } else { texts.into() }
}

async fn edit(
    call: &Call<'_>,
    path: &QueuePath,
    mut edit: impl FnMut(&mut Vec<Value>) -> Result<(), Failure>,
) -> Result<Answer, Failure> {
    let now = call.service().now();
    let change = |attributes: &mut Attributes| {
        let text = attributes.get("Policy");
        let policy = text.and_then(|text| serde_json::from_str::<Value>(&text).ok());
        let statements = policy.as_ref().and_then(|policy| policy.get("Statement"));
        let mut statements = match statements {
            Some(Value::Array(statements)) => statements.clone(),
            Some(one) => vec![one.clone()],
            None => Vec::new(),
        };
        edit(&mut statements)?;
        let policy = (!statements.is_empty()).then(|| {
            let id = format!("{}/SQSDefaultPolicy", path.arn());
            let mut policy = policy.unwrap_or_else(|| json!({ "Version": "2008-10-17", "Id": id }));
            if let Value::Object(policy) = &mut policy {
                policy.insert("Statement".into(), statements.into());
            }
            policy.to_string()
        });
        attributes.set(vec![("Policy", policy)], now)
    };
    call.service().queues().update(path, change).await?;
    Ok(Answer::NOTHING)
}
