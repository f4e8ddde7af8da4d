"""Creates the queue of the Celery app and sends it tasks: flights of a file, or one that waits for its clearance."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import boto3

from tasks import ENDPOINT, QUEUE, arrive, depart, taxi

RECEIVES_MAX = 10


def create(visibility_s: int) -> None:
    """Celery does not extend what it works on: the visibility timeout is longer than any task."""
    sqs = boto3.client("sqs", endpoint_url=ENDPOINT)
    dead = sqs.create_queue(QueueName=f"{QUEUE}-dead")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    redrive = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": RECEIVES_MAX})
    url = sqs.create_queue(QueueName=QUEUE)["QueueUrl"]
    attributes = {"RedrivePolicy": redrive, "VisibilityTimeout": str(visibility_s)}
    sqs.set_queue_attributes(QueueUrl=url, Attributes=attributes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--visibility-s", type=int, default=60, help="longer than any task takes")
    parser.add_argument("--flights", type=Path, help="a file with a flight in each line")
    parser.add_argument("--count", type=int, help="only so many flights")
    parser.add_argument("--taxi", nargs=2, metavar=("NAME", "CLEARANCE"), help="a task that waits for a file")
    args = parser.parse_args()
    create(args.visibility_s)
    sent = 0
    if args.flights:
        for line in args.flights.read_text().splitlines()[: args.count]:
            for task in (depart, arrive):
                task.delay(json.loads(line))
                sent += 1
    if args.taxi:
        taxi.delay(*args.taxi)
        sent += 1
    print(f"sent={sent}")


if __name__ == "__main__":
    main()
