//! `ListQueues`, `GetQueueUrl` and `ListDeadLetterSourceQueues`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::sqs::account::{Namespace, QueuePath, is_account};
use crate::sqs::errors::{Code, Failure};
use crate::sqs::limits::PAGE_MAX;
use crate::sqs::service::Call;
use crate::sqs::shapes::{
    GetQueueUrlRequest, ListDeadLetterSourceQueuesRequest, ListDeadLetterSourceQueuesResult,
    ListQueuesRequest, ListQueuesResult, QueueUrlResult,
};
use crate::sqs::wire::{Answer, Request};

pub(in crate::sqs::actions) async fn list(
    call: &Call<'_>,
    request: &Request<'_>,
) -> Result<Answer, Failure> {
    let ListQueuesRequest { queue_name_prefix, next_token, max_results } = request.parse()?;
    let prefix = queue_name_prefix.unwrap_or_default();
    let is_meant = |path: &QueuePath| {
        let is_theirs = path.namespace == call.namespace && call.sees(path);
        is_theirs && path.name.starts_with(prefix.as_str())
    };
    let all = call.service().queues().all().await?.into_iter().map(|(path, _)| path);
    let page = page(all.filter(is_meant).collect(), next_token.as_deref(), max_results)?;
    let (queue_urls, next_token) = (page.urls(call), page.next_token);
    request.answer(&ListQueuesResult { queue_urls, next_token })
}

pub(in crate::sqs::actions) async fn sources(
    call: &Call<'_>,
    request: &Request<'_>,
) -> Result<Answer, Failure> {
    let ListDeadLetterSourceQueuesRequest { queue_url, next_token, max_results } =
        request.parse()?;
    let queue = call.queue(queue_url.as_deref()).await?;
    let sources = call.service().queues().sources(&queue.path).await?;
    let sources =
        sources.into_iter().map(|(path, _)| path).filter(|path| call.sees(path)).collect();
    let page = page(sources, next_token.as_deref(), max_results)?;
    let (queue_urls, next_token) = (page.urls(call), page.next_token);
    request.answer(&ListDeadLetterSourceQueuesResult { queue_urls, next_token })
}

pub(in crate::sqs::actions) async fn url(
    call: &Call<'_>,
    request: &Request<'_>,
) -> Result<Answer, Failure> {
    let GetQueueUrlRequest { queue_name, queue_owner_aws_account_id } = request.parse()?;
    let name =
        queue_name.filter(|it| !it.is_empty()).ok_or_else(|| Failure::missing("QueueName"))?;
    let account = queue_owner_aws_account_id.filter(|account| is_account(account));
    let namespace = Namespace {
        account: account.unwrap_or_else(|| call.namespace.account.clone()),
        region: call.namespace.region.clone(),
    };
    let path = namespace.queue(&name).ok_or_else(Failure::no_queue)?;
    call.admit(&path)?;
    let queue = call.service().queues().get(&path).await?;
    request.answer(&QueueUrlResult { queue_url: call.url(&queue.path) })
}

/// Some of many queues, in the order of their names.
struct Page {
    queues: Vec<QueuePath>,
    next_token: Option<String>,
}

impl Page {
    fn urls(&self, call: &Call<'_>) -> Vec<String> {
        self.queues.iter().map(|path| call.url(path)).collect()
    }
}

/// The page behind `token`, which is the last name of the page before. Without `max` the page is as long
/// as a page can be, and there is no next one, as on AWS.
fn page(mut all: Vec<QueuePath>, token: Option<&str>, max: Option<i64>) -> Result<Page, Failure> {
    if max.is_some_and(|max| !(1..=PAGE_MAX).contains(&max)) {
        let why = "MaxResults must be an integer between 1 and 1000.";
        return Err(Failure::value(max.unwrap_or_default(), "MaxResults", why));
    }
    all.sort();
    if let Some(token) = token.filter(|token| !token.is_empty()) {
        let wrong = || Code::InvalidParameterValue.because("Invalid or expired next token.");
        let last = STANDARD.decode(token).ok().and_then(|it| String::from_utf8(it).ok());
        let last = last.ok_or_else(wrong)?;
        all.retain(|path| path.name > last);
    }
    let most = max.unwrap_or(PAGE_MAX).unsigned_abs() as usize;
    let has_more = all.len() > most;
    all.truncate(most);
    let last = all.last().filter(|_| has_more && max.is_some());
    let next_token = last.map(|path| STANDARD.encode(&path.name));
    Ok(Page { queues: all, next_token })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(names: &[&str]) -> Vec<QueuePath> {
        names.iter().map(|name| Namespace::default().queue(name).unwrap()).collect()
    }

    fn names(page: &Page) -> Vec<&str> {
        page.queues.iter().map(|path| path.name.as_str()).collect()
    }

    #[test]
    fn pages_follow_each_other_and_lose_nothing() {
        let all = || paths(&["c", "a", "b"]);
        let first = page(all(), None, Some(2)).unwrap();
        assert_eq!(names(&first), ["a", "b"]);
        let second = page(all(), first.next_token.as_deref(), Some(2)).unwrap();
        assert_eq!((names(&second), &second.next_token), (vec!["c"], &None));
        assert_eq!(page(all(), None, Some(3)).unwrap().next_token, None);
        assert!(page(all(), Some("?"), None).is_err());
        assert!(page(all(), None, Some(0)).is_err() && page(all(), None, Some(1_001)).is_err());
    }

    #[test]
    fn without_a_length_there_is_one_page() {
        let many: Vec<String> = (0..1_001).map(|n| format!("q{n:04}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let page = page(paths(&many), None, None).unwrap();
        assert_eq!((page.queues.len(), page.next_token), (1_000, None));
    }
}
