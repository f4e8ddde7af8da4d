"""The work of the example: flights, and what is known of each."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

from tidegate.v1 import broker_pb2 as pb
from tidegate_client import Complete, Retry, Verdict

KIND = "flight.departed"
DEDUP_SECONDS = 3600


def queue(name: str) -> pb.QueueSpec:
    """The queue of both programs: whoever comes first creates it. Flights of one aircraft stay in order."""
    return pb.QueueSpec(name=name, ordering=pb.ORDERING_KEY)


def read(path: Path) -> Iterator[pb.NewTask]:
    """One task for each line."""
    for line in path.read_text().splitlines():
        flight = json.loads(line)
        task = pb.NewTask(
            kind=KIND,
            payload=line.encode(),
            # Sent twice, within the hour, it is still one task.
            dedup=pb.Dedup(key=name_of(flight), window_us=DEDUP_SECONDS * 1_000_000),
        )
        if flight["tailnum"]:
            task.ordering_key = flight["tailnum"]
        yield task


def name_of(flight: dict[str, Any]) -> str:
    date = f"{flight['year']}-{flight['month']:02}-{flight['day']:02}"
    return f"{date}/{flight['carrier']}{flight['flight']}/{flight['origin']}"


def handler(work_seconds: float) -> Callable[[pb.Task], Awaitable[Verdict]]:
    """Looks at a flight, for so long. One that has not left yet is looked at once more, a little later."""

    async def handle(task: pb.Task) -> Verdict:
        flight = json.loads(task.payload)
        await asyncio.sleep(work_seconds)
        if flight["dep_time"] is None:
            if task.attempt == 1:
                return Retry("it has not left yet", after=0.3)
            return Complete("it never left")
        if flight["arr_delay"] is None:
            return Complete("nobody knows when it arrived")
        return Complete(f"{flight['arr_delay']:+} minutes")

    return handle


def show(task: pb.Task, verdict: Verdict, outcome: str) -> None:
    """One line for each verdict that was carried out."""
    flight = json.loads(task.payload)
    note = verdict.error if isinstance(verdict, Retry) else verdict.note
    key = task.ordering_key or "-"
    print(f"{name_of(flight)} key={key} attempt={task.attempt} outcome={outcome}: {note}", flush=True)
