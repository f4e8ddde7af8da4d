"""Receives messages of a FIFO queue, holds them while they are worked on, and settles them."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from backoff import Backoff
from queues import is_for_good

BATCH_MAX = 10
TRIES_MAX = 5
OF_CALLS = Backoff(100, 2, 5_000)
"""Calls that failed, by the network or the server."""
OF_MESSAGES = Backoff()
"""Messages that failed."""

Message = dict[str, Any]
Entry = tuple[Message, Any]
"""A message of a batch call, and what goes with it."""


@dataclass(frozen=True)
class Verdict:
    """What becomes of a message. One that is not done is hidden for a while, longer from attempt to attempt."""

    is_done: bool
    note: str


def attempt_of(message: Message) -> int:
    return int(message["Attributes"]["ApproximateReceiveCount"])


@dataclass
class Worker:
    sqs: Any
    url: str
    handler: Callable[[Message], Verdict]
    """Whatever it raises is a verdict to try again. It should end soon when `stop` is set."""
    settled: Callable[[Message, Verdict], None]
    """Hears of each verdict that was carried out."""
    visibility_s: int
    """How long messages are hidden from others; they are extended while they are worked on."""
    wait_s: int
    """How long a poll waits, at most 20. boto3 cannot break one off, so an end takes as long."""

    def run(self, stop: threading.Event) -> None:
        """Works until `stop` is set, and gives back what is not done by then."""
        failures = 0
        while not stop.is_set():
            try:
                batch = self._receive()
                failures = 0
                self._work_on(batch, stop)
            except (ClientError, BotoCoreError) as error:
                if is_for_good(error):
                    raise
                failures += 1
                say(f"trying again: {error}")
                stop.wait(OF_CALLS.delay_ms(failures) / 1_000)

    def _receive(self) -> list[Message]:
        """A long poll: it is answered when there is something, and when its time is over."""
        answer = self.sqs.receive_message(
            QueueUrl=self.url,
            MaxNumberOfMessages=BATCH_MAX,
            WaitTimeSeconds=self.wait_s,
            VisibilityTimeout=self.visibility_s,
            MessageSystemAttributeNames=["ApproximateReceiveCount", "MessageGroupId"],
        )
        return answer.get("Messages", [])

    def _work_on(self, batch: list[Message], stop: threading.Event) -> None:
        if not batch:
            return
        groups: dict[str, list[Message]] = {}
        for message in batch:
            groups.setdefault(message["Attributes"]["MessageGroupId"], []).append(message)
        with self._held(batch) as held, ThreadPoolExecutor(len(groups)) as threads:
            working = threads.map(lambda group: self._work_on_group(group, held, stop), groups.values())
            self._remove([judged for done in working for judged in done])

    def _work_on_group(self, group: list[Message], held: Held, stop: threading.Event) -> list[tuple[Message, Verdict]]:
        """In order. Where one is not done, those behind it are given back: they come after it."""
        done = []
        for at, message in enumerate(group):
            verdict = None if stop.is_set() else self._judge(message)
            if verdict and verdict.is_done:
                done.append((message, verdict))
                continue
            stops = stop.is_set()
            held.let_go(group[at:])
            seconds = 0 if stops else OF_MESSAGES.visibility_seconds(attempt_of(message))
            self._hide([(message, seconds), *((later, 0) for later in group[at + 1 :])])
            if verdict and not stops:
                self.settled(message, verdict)
            break
        return done

    def _judge(self, message: Message) -> Verdict:
        try:
            return self.handler(message)
        except Exception as error:
            return Verdict(False, str(error))

    @contextmanager
    def _held(self, batch: list[Message]) -> Iterator[Held]:
        """Extends what is held, now and then."""
        held, over = Held(batch), threading.Event()

        def extend() -> None:
            while not over.wait(self.visibility_s / 3):
                with held.lock:
                    try:
                        self._hide([(message, self.visibility_s) for message in held.messages])
                    except (ClientError, BotoCoreError) as error:
                        say(f"not extended: {error}")

        thread = threading.Thread(target=extend, daemon=True)
        thread.start()
        try:
            yield held
        finally:
            over.set()
            thread.join()

    def _hide(self, hidden: list[tuple[Message, int]]) -> None:
        def call(left: list[tuple[Message, int]]) -> dict[str, Any]:
            entries = [
                {"Id": str(at), "ReceiptHandle": message["ReceiptHandle"], "VisibilityTimeout": seconds}
                for at, (message, seconds) in enumerate(left)
            ]
            return self.sqs.change_message_visibility_batch(QueueUrl=self.url, Entries=entries)

        each(hidden, call)

    def _remove(self, done: list[tuple[Message, Verdict]]) -> None:
        def call(left: list[tuple[Message, Verdict]]) -> dict[str, Any]:
            entries = [
                {"Id": str(at), "ReceiptHandle": message["ReceiptHandle"]} for at, (message, _) in enumerate(left)
            ]
            return self.sqs.delete_message_batch(QueueUrl=self.url, Entries=entries)

        for message, verdict in each(done, call):
            self.settled(message, verdict)


class Held:
    """What is extended. The lock is held meanwhile, so that nothing is extended after it was given back."""

    def __init__(self, batch: list[Message]) -> None:
        self.lock = threading.Lock()
        self.messages = list(batch)

    def let_go(self, messages: list[Message]) -> None:
        with self.lock:
            self.messages = [message for message in self.messages if message not in messages]


def each(every: list[Entry], call: Callable[[list[Entry]], dict[str, Any]]) -> list[Entry]:
    """Makes a batch call, and makes it again for the entries that failed. Returns those that succeeded, in their
    order. Others, and all where the server is away for long, come back when their visibility timeout is over."""
    succeeded, left = [], every
    for retry in range(TRIES_MAX):
        if not left:
            break
        if retry:
            time.sleep(OF_CALLS.delay_ms(retry) / 1_000)
        try:
            failed = {int(entry["Id"]): entry for entry in call(left).get("Failed", [])}
        except (ClientError, BotoCoreError) as error:
            if is_for_good(error):
                raise
            say(f"trying again: {error}")
            continue
        succeeded += [one for at, one in enumerate(left) if at not in failed]
        for at, entry in failed.items():
            if entry["SenderFault"]:
                say(f"lost {left[at][0]['MessageId']}: {entry['Code']}")
        left = [left[at] for at, entry in failed.items() if not entry["SenderFault"]]
    return succeeded


def say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)
