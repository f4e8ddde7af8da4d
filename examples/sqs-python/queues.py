"""The queues of producer and consumer: whoever comes first creates them."""

from __future__ import annotations

import json
from typing import Any

from botocore.exceptions import ClientError

RECEIVES_MAX = 10
"""Receives of one message before it goes to the dead-letter queue."""
FOR_NOW = {"OverLimit", "RequestThrottled", "ThrottlingException"}
"""What the server refuses for now only."""


def open_all(sqs: Any, name: str, partitions: int) -> list[str]:
    """The URLs of the partitions NAME-0.fifo, NAME-1.fifo and so on, which share a dead-letter queue."""
    dead = create(sqs, f"{name}-dead.fifo", {})
    asked = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])
    redrive = {"deadLetterTargetArn": asked["Attributes"]["QueueArn"], "maxReceiveCount": RECEIVES_MAX}
    attributes = {"RedrivePolicy": json.dumps(redrive)}
    return [create(sqs, f"{name}-{partition}.fifo", attributes) for partition in range(partitions)]


def create(sqs: Any, name: str, attributes: dict[str, str]) -> str:
    return sqs.create_queue(QueueName=name, Attributes={"FifoQueue": "true", **attributes})["QueueUrl"]


def is_for_good(error: Exception) -> bool:
    """Whether a call fails again, however often it is tried."""
    if not isinstance(error, ClientError) or error.response["Error"]["Code"] in FOR_NOW:
        return False
    status = error.response["ResponseMetadata"]["HTTPStatusCode"]
    return 400 <= status < 500 and status != 429
