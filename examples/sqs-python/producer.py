"""Sends flights, one message for each line of a file, to the partition of their aircraft."""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3
from botocore.exceptions import ClientError

import flights
from queues import open_all
from routing import partition
from sender import send_all


def send(queue: str, partitions: int, path: Path) -> int:
    # Where the server is and who asks it: AWS_ENDPOINT_URL_SQS, AWS_DEFAULT_REGION, AWS_ACCESS_KEY_ID and so on.
    sqs = boto3.client("sqs")
    urls = open_all(sqs, queue, partitions)
    messages = list(flights.read(path))
    parts = [[one for one in messages if partition(one["MessageGroupId"], len(urls)) == at] for at in range(len(urls))]
    with ThreadPoolExecutor(len(urls)) as threads:
        refused = sum(threads.map(lambda url, part: send_all(sqs, url, part), urls, parts), [])
    print(f"sent={len(messages) - len(refused)} refused={len(refused)}")
    if refused:
        print(f"failed: {refused[0]['Code']}: {refused[0]['Message']}", file=sys.stderr)
    return 1 if refused else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queue", required=True)
    parser.add_argument("--partitions", type=int, default=1, help="how many queues share the flights")
    parser.add_argument("path", type=Path)
    args = parser.parse_args()
    try:
        return send(args.queue, args.partitions, args.path)
    except ClientError as error:
        print(f"failed: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
