"""Sends flights, one task for each line of a file, and tells how many there were."""

from __future__ import annotations

import argparse
import asyncio
import sys
from itertools import islice
from pathlib import Path

import flights
from tidegate_client import Sender, Server, TidegateError

# A request is one call of the broker; many are on their way at the same time.
TASKS_PER_REQUEST = 100


async def send_all(server: Server, queue: str, path: Path) -> None:
    link = await server.reach(patience=30)
    await link.declare(flights.queue(queue))
    await link.close()
    sender = Sender(server)
    try:
        tasks = flights.read(path)
        batches = iter(lambda: list(islice(tasks, TASKS_PER_REQUEST)), [])
        receipts = await asyncio.gather(*(sender.send(queue, batch) for batch in batches))
    finally:
        await sender.close()
    outcomes = [outcome for receipt in receipts for outcome in receipt]
    refused = [outcome for outcome in outcomes if outcome.HasField("error")]
    if refused:
        print(f"{len(refused)} of {len(outcomes)} were refused", file=sys.stderr)
        raise TidegateError.of(refused[0].error)
    known = sum(outcome.deduplicated for outcome in outcomes)
    print(f"sent={len(outcomes)} deduplicated={known}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", default="127.0.0.1:9326", help="host and port")
    parser.add_argument("--queue", required=True)
    parser.add_argument("--token", help="the access token, where the server asks for one")
    parser.add_argument("path", type=Path, help="flights, one JSON object a line")
    args = parser.parse_args()
    try:
        asyncio.run(send_all(Server(args.server, args.token), args.queue, args.path))
    except TidegateError as error:
        print(f"failed: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
