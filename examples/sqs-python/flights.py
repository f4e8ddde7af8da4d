"""The work of producer and consumer: flights, and what is known of each."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from worker import Message, Verdict, attempt_of

KIND = "flight.departed"
"""What a worker of Tidegate calls the task's kind."""


def read(path: Path) -> Iterator[dict[str, Any]]:
    """One message for each line. Flights of one aircraft stay in order."""
    for line in path.read_text().splitlines():
        flight = json.loads(line)
        yield {
            "MessageBody": line,
            "MessageGroupId": flight["tailnum"] or name_of(flight),
            # Sent twice, within five minutes, it is still one message.
            "MessageDeduplicationId": name_of(flight),
            "MessageAttributes": {"type": {"DataType": "String", "StringValue": KIND}},
        }


def name_of(flight: dict[str, Any]) -> str:
    date = f"{flight['year']}-{flight['month']:02}-{flight['day']:02}"
    return f"{date}/{flight['carrier']}{flight['flight']}/{flight['origin']}"


def handler(work_seconds: float, stop: threading.Event) -> Callable[[Message], Verdict]:
    """Looks at a flight, for so long. One that has not left yet is looked at once more, a little later."""

    def handle(message: Message) -> Verdict:
        flight = json.loads(message["Body"])
        if stop.wait(work_seconds):
            return Verdict(False, "it has to end")
        if flight["dep_time"] is None:
            if attempt_of(message) == 1:
                return Verdict(False, "it has not left yet")
            return Verdict(True, "it never left")
        if flight["arr_delay"] is None:
            return Verdict(True, "nobody knows when it arrived")
        return Verdict(True, f"{flight['arr_delay']:+} minutes")

    return handle


def show(message: Message, verdict: Verdict) -> None:
    """One line for each verdict that was carried out."""
    flight = json.loads(message["Body"])
    outcome = "DONE" if verdict.is_done else "SCHEDULED"
    words = f"{name_of(flight)} key={flight['tailnum'] or '-'} attempt={attempt_of(message)}"
    # WHY: one write; threads share the output.
    print(f"{words} outcome={outcome}: {verdict.note}\n", end="", flush=True)
