"""Sends messages to a FIFO queue in batches. What is refused for now is sent again."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator
from typing import Any

from backoff import Backoff

ENTRIES_MAX = 10
BATCH_BYTES_MAX = 1_048_576
"""What SQS takes in one call."""
ATTRIBUTES_BYTES = 1_024
"""More than the attributes of a message have here."""
TRIES_MAX = 8
BACKOFF = Backoff(100, 2, 5_000)


def send_all(sqs: Any, url: str, messages: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sends in order and returns what was refused for good, one entry each."""
    return [refused for batch in batches(messages) for refused in send_batch(sqs, url, batch)]


def batches(messages: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """At most one message of a group is in a batch: one that has to be sent again still comes before the next."""
    batch: list[dict[str, Any]] = []
    groups: set[str] = set()
    used = 0
    for message in messages:
        group, size = message["MessageGroupId"], len(message["MessageBody"].encode()) + ATTRIBUTES_BYTES
        if batch and (len(batch) == ENTRIES_MAX or group in groups or used + size > BATCH_BYTES_MAX):
            yield batch
            batch, groups, used = [], set(), 0
        batch.append(message)
        groups.add(group)
        used += size
    if batch:
        yield batch


def send_batch(sqs: Any, url: str, batch: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """A batch is answered entry by entry: some may be there, others not."""
    left = {str(at): message for at, message in enumerate(batch)}
    for retry in itertools.count(1):
        entries = [{"Id": at, **message} for at, message in left.items()]
        failed = sqs.send_message_batch(QueueUrl=url, Entries=entries).get("Failed", [])
        is_last = retry == TRIES_MAX
        yield from (entry for entry in failed if entry["SenderFault"] or is_last)
        left = {entry["Id"]: left[entry["Id"]] for entry in failed if not entry["SenderFault"]}
        if not left or is_last:
            return
        time.sleep(BACKOFF.delay_ms(retry) / 1_000)
