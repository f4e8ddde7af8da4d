"""Works on flights of all partitions until SIGTERM or Ctrl-C, and prints a line for each verdict."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import boto3
from botocore.exceptions import ClientError

import flights
from queues import open_all
from worker import Worker


def work(args: argparse.Namespace, stop: threading.Event) -> None:
    # Where the server is and who asks it: AWS_ENDPOINT_URL_SQS, AWS_DEFAULT_REGION, AWS_ACCESS_KEY_ID and so on.
    sqs = boto3.client("sqs")
    urls = open_all(sqs, args.queue, args.partitions)
    handler = flights.handler(args.work_ms / 1_000, stop)

    def run(url: str) -> None:
        try:
            Worker(sqs, url, handler, flights.show, args.visibility_s, args.wait_s).run(stop)
        finally:
            # One that fails ends the others.
            stop.set()

    with ThreadPoolExecutor(len(urls)) as threads:
        list(threads.map(run, urls))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queue", required=True)
    parser.add_argument("--partitions", type=int, default=1, help="how many queues share the flights")
    parser.add_argument("--visibility-s", type=int, default=30, help="hide flights for so long; they are extended")
    parser.add_argument("--wait-s", type=int, default=20, help="how long a poll waits, and an end takes")
    parser.add_argument("--work-ms", type=int, default=0, help="how long to work on each flight")
    args = parser.parse_args()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        work(args, stop)
    except ClientError as error:
        print(f"failed: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
