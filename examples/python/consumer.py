"""Works on flights until SIGTERM or Ctrl-C, and prints a line for each verdict."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys

import flights
from tidegate_client import Server, TidegateError, Worker


async def work(worker: Worker) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await worker.run(stop)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", default="127.0.0.1:9326", help="host and port")
    parser.add_argument("--queue", required=True)
    parser.add_argument("--token", help="the access token, where the server asks for one")
    parser.add_argument("--concurrency", type=int, default=16, help="most tasks at a time")
    parser.add_argument("--lease-ms", type=int, help="hold tasks for so long [the queue's lease]")
    parser.add_argument("--work-ms", type=int, default=0, help="how long to work on each task")
    args = parser.parse_args()
    worker = Worker(
        Server(args.server, args.token),
        flights.queue(args.queue),
        flights.handler(args.work_ms / 1000),
        flights.show,
        concurrency=args.concurrency,
        lease=None if args.lease_ms is None else args.lease_ms / 1000,
        grace=2.0,
    )
    try:
        asyncio.run(work(worker))
    except TidegateError as error:
        print(f"failed: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
