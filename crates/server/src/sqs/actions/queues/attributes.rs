//! `GetQueueAttributes` and `SetQueueAttributes`.

use tidegate_core::QueueStats;

use super::{check_redrive, redrive_of};
use crate::sqs::attributes::{Attributes, Counter, READ_ONLY, SETTINGS};
use crate::sqs::errors::{Code, Failure};
use crate::sqs::service::Call;
use crate::sqs::shapes::{
    GetQueueAttributesRequest, GetQueueAttributesResult, Pairs, SetQueueAttributesRequest,
};
use crate::sqs::wire::{Answer, Request};

pub(in crate::sqs::actions) async fn get(
    call: &Call<'_>,
    request: &Request<'_>,
) -> Result<Answer, Failure> {
    let GetQueueAttributesRequest { queue_url, attribute_names } = request.parse()?;
    let path = call.path(queue_url.as_deref())?;
    let (service, names) = (call.service(), attribute_names.unwrap_or_default());
    let name = path.in_broker(&service.options().own)?;
    let queue = service.queues().read(&path, &name).await?;
    if let Some(unknown) = names.iter().find(|name| !is_known(name)) {
        return Err(Code::InvalidAttributeName.because(format!("Unknown Attribute {unknown}.")));
    }
    let has_all = names.iter().any(|name| name == "All");
    let is_asked = |name: &str| has_all || names.iter().any(|asked| asked == name);
    let mut attributes = Pairs::new();
    if Counter::ALL.iter().any(|counter| is_asked(counter.name())) {
        let stats = service.broker().inspect()?.stats(&name).await.map_err(Failure::from);
        let stats = service.queues().seen(&name, stats)?;
        let told =
            |counter: &Counter| (counter.name().to_owned(), count(*counter, &stats).to_string());
        attributes.extend(Counter::ALL.iter().map(told).filter(|(name, _)| is_asked(name)));
    }
    let settings = SETTINGS.iter().map(|setting| setting.name);
    for name in settings.chain(READ_ONLY.iter().copied()).filter(|name| is_asked(name)) {
        let value = match name {
            "QueueArn" => Some(path.arn()),
            name => queue.attributes.get(name),
        };
        attributes.extend(value.map(|value| (name.to_owned(), value)));
    }
    request.answer(&GetQueueAttributesResult { attributes })
}

fn is_known(name: &str) -> bool {
    let is_counter = Counter::ALL.iter().any(|counter| counter.name() == name);
    let is_setting = SETTINGS.iter().any(|setting| setting.name == name);
    name == "All" || is_counter || is_setting || READ_ONLY.contains(&name)
}

const fn count(counter: Counter, stats: &QueueStats) -> u64 {
    match counter {
        Counter::Visible => stats.ready,
        Counter::NotVisible => stats.leased,
        Counter::Delayed => stats.scheduled,
    }
}

pub(in crate::sqs::actions) async fn set(
    call: &Call<'_>,
    request: &Request<'_>,
) -> Result<Answer, Failure> {
    let SetQueueAttributesRequest { queue_url, attributes } = request.parse()?;
    let path = call.path(queue_url.as_deref())?;
    let given = attributes.ok_or_else(|| Failure::missing("Attributes"))?.0;
    let queue = call.queue(queue_url.as_deref()).await?;
    if let Some(value) = given.get("FifoQueue")
        && queue.attributes.get("FifoQueue").as_deref() != Some(value)
    {
        return Err(Code::InvalidAttributeName.because("Unknown Attribute FifoQueue."));
    }
    let values = Attributes::check(&given, queue.hot.is_fifo)?;
    if let Some(policy) = redrive_of(&values)? {
        call.admit(&policy.target)?;
        check_redrive(call.service(), &path, &policy).await?;
    }
    let now = call.service().now();
    let set = |attributes: &mut Attributes| attributes.set(values.clone(), now);
    call.service().queues().update(&path, set).await?;
    Ok(Answer::NOTHING)
}
