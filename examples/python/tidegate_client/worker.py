"""Receives tasks on the stream of work, runs a handler for each, and settles them.

What is held belongs to the worker and outlives a connection, as its leases do. What was asked on a stream
and not answered is forgotten with it: `_Stream`. One coroutine reads answers, one takes the steps that
the state calls for, whenever it has changed.
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field

import grpc

from tidegate.v1 import broker_pb2 as pb

from .errors import TidegateError
from .link import BACKOFF_SECONDS, Link, Server
from .together import together


@dataclass(frozen=True)
class Complete:
    """The work is done."""

    note: str = ""

    def to_proto(self) -> pb.Verdict:
        return pb.Verdict(complete=pb.Complete())


@dataclass(frozen=True)
class Retry:
    """The attempt failed; the task comes back after so many seconds, or dies if it was its last."""

    error: str
    after: float = 1.0

    def to_proto(self) -> pb.Verdict:
        return pb.Verdict(retry=pb.Retry(after_us=int(self.after * 1e6), error=self.error))


@dataclass(frozen=True)
class _Release:
    """Nothing was tried; the attempt does not count."""

    def to_proto(self) -> pb.Verdict:
        return pb.Verdict(release=pb.Release())


Verdict = Complete | Retry
Handler = Callable[[pb.Task], Awaitable[Verdict]]
# Told of every verdict, once the server has answered: the outcome is a name such as `DONE`.
Settled = Callable[[pb.Task, Verdict, str], None]


@dataclass
class _Held:
    """A task that is held, from its lease until the server has answered for its verdict."""

    lease: pb.Lease
    work: asyncio.Task[None] | None = None
    verdict: Verdict | _Release | None = None


@dataclass
class _Stream:
    """The stream of work of one link, with the steps that are not answered, by their ids."""

    link: Link
    call: grpc.aio.StreamStreamCall
    is_opening: bool = False
    credits: dict[int, int] = field(default_factory=dict)  # what is left of each
    settles: dict[int, list[bytes]] = field(default_factory=dict)  # the tokens
    extends: dict[int, list[bytes]] = field(default_factory=dict)
    is_closing: bool = False
    beat_is_due: bool = False
    credits_are_taken_back: bool = False
    is_open: bool = False
    is_closed: bool = False


SESSION = 1  # one session on a stream is enough for one queue


class Worker:
    """Runs a handler for the tasks of a queue, so many at a time. An exception of the handler is a `Retry`.

    A handler is cancelled when the lease of its task is lost. `lease` is for how many seconds a task is
    held unless it is extended, which is done after every third of it; without it the queue's is."""

    def __init__(
        self,
        server: Server,
        spec: pb.QueueSpec,
        handler: Handler,
        settled: Settled,
        *,
        concurrency: int = 16,
        lease: float | None = None,
        grace: float = 5.0,
    ) -> None:
        self._server = server
        self._spec = spec
        self._handler = handler
        self._settled = settled
        self._concurrency = concurrency
        self._lease = lease
        self._grace = grace
        self._held: dict[bytes, _Held] = {}
        self._last_id = 0
        self._is_stopping = False
        self._has_news = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> None:
        """Works until `stop` is set. Then nothing new is taken, handlers have `grace` seconds to end, and
        what is still held is given back. Reconnects for as long as that can help.

        Raises `TidegateError` if trying again does not help."""
        stopper = asyncio.create_task(self._stop(stop))
        try:
            is_done = False
            while not is_done:
                link = await self._reach(stop)
                if link is None:
                    break  # what is held comes back when its leases end
                try:
                    await link.declare(self._spec)
                    is_done = await self._serve(link)
                except TidegateError as error:
                    if not error.retryable:
                        raise
                    _warn(f"connecting again: {error}")
                    await asyncio.sleep(random.uniform(0, BACKOFF_SECONDS))
                finally:
                    await link.close()
                if not link.leases_outlive_it:
                    self._forget_all()
        finally:
            stopper.cancel()
            self._forget_all()

    async def _reach(self, stop: asyncio.Event) -> Link | None:
        """The next link. Once it is to stop, only what is held is worth some waiting."""
        if not stop.is_set():
            reaching = asyncio.create_task(self._server.reach())
            stopping = asyncio.create_task(stop.wait())
            await asyncio.wait([reaching, stopping], return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            if reaching.done():
                return reaching.result()
            reaching.cancel()
        if not self._held:
            return None
        try:
            return await self._server.reach(self._grace)
        except TidegateError:
            return None

    async def _stop(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._is_stopping = True
        self._has_news.set()
        await asyncio.sleep(self._grace)
        for held in self._held.values():
            self._give_back(held)

    # ---- one stream ----

    async def _serve(self, link: Link) -> bool:
        """Works on one link until its stream ends. Whether all was settled and the session closed."""
        stream = _Stream(link, link.stub.Work(metadata=link.metadata))
        try:
            return await together(self._read(stream), self._write(stream), self._beat(stream))
        except grpc.aio.AioRpcError as status:
            raise TidegateError.of_status(status) from status

    async def _read(self, stream: _Stream) -> bool:
        while (response := await stream.call.read()) is not grpc.aio.EOF:
            self._answered(stream, response)
            self._has_news.set()
        return stream.is_closed

    async def _write(self, stream: _Stream) -> None:
        """Takes the steps that the state calls for, each time it has changed."""
        try:
            while not stream.is_closed:
                if not stream.link.draining.is_set():
                    for step in self._steps(stream):
                        await stream.call.write(step)
                self._has_news.clear()
                await self._has_news.wait()
            await stream.call.done_writing()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            pass  # why the stream has ended is told to its reader

    async def _beat(self, stream: _Stream) -> None:
        """Says when leases are to be extended: every third of the shortest, and at least every second."""
        while True:
            stream.beat_is_due = True
            self._has_news.set()
            leases = [held.lease.duration_us / 1e6 for held in self._held.values()]
            await asyncio.sleep(min([*leases, self._lease or 3.0, 3.0]) / 3)

    def _steps(self, stream: _Stream) -> Iterator[pb.WorkRequest]:
        if not stream.is_open:
            if not stream.is_opening:
                stream.is_opening = True
                opening = pb.Open(queue=self._spec.name)
                yield pb.WorkRequest(id=self._next_id(), session=SESSION, open=opening)
            return
        yield from self._settle(stream)
        if stream.beat_is_due:
            stream.beat_is_due = False
            yield from self._extend(stream)
        yield from self._end(stream) if self._is_stopping else self._ask(stream)

    def _ask(self, stream: _Stream) -> Iterator[pb.WorkRequest]:
        """A credit for every free slot. It stands until it is used up: nobody polls."""
        free = self._concurrency - len(self._held) - sum(stream.credits.values())
        if free > 0:
            lease_us = None if self._lease is None else int(self._lease * 1e6)
            id = self._next_id()
            stream.credits[id] = free
            yield pb.WorkRequest(id=id, session=SESSION, credit=pb.Credit(limit=free, lease_us=lease_us))

    def _end(self, stream: _Stream) -> Iterator[pb.WorkRequest]:
        """Takes the credits back; each is answered once more, perhaps with leases. Closes the session when
        nothing is held any more."""
        if not stream.credits_are_taken_back:
            stream.credits_are_taken_back = True
            for credit in list(stream.credits):  # answers come in between
                cancel = pb.Cancel(credit=credit)
                yield pb.WorkRequest(id=self._next_id(), session=SESSION, cancel=cancel)
        if not stream.credits and not self._held and not stream.is_closing:
            stream.is_closing = True
            yield pb.WorkRequest(id=self._next_id(), session=SESSION, close=pb.Close())

    def _settle(self, stream: _Stream) -> Iterator[pb.WorkRequest]:
        """All verdicts that have gathered, in one step."""
        under_way = {token for tokens in stream.settles.values() for token in tokens}
        decided = {
            token: held.verdict
            for token, held in self._held.items()
            if held.verdict and token not in under_way
        }
        if decided:
            id = self._next_id()
            stream.settles[id] = list(decided)
            decisions = [
                pb.Decision(token=token, verdict=verdict.to_proto()) for token, verdict in decided.items()
            ]
            yield pb.WorkRequest(id=id, session=SESSION, settle=pb.Settle(decisions=decisions))

    def _extend(self, stream: _Stream) -> Iterator[pb.WorkRequest]:
        at_work = {t: held.lease for t, held in self._held.items() if held.verdict is None}
        if at_work:
            id = self._next_id()
            stream.extends[id] = list(at_work)
            extensions = [
                pb.Extension(token=token, duration_us=lease.duration_us) for token, lease in at_work.items()
            ]
            yield pb.WorkRequest(id=id, session=SESSION, extend=pb.Extend(extensions=extensions))

    def _answered(self, stream: _Stream, response: pb.WorkResponse) -> None:
        id, answer = response.id, response.WhichOneof("answer")
        if answer == "error":
            # Nothing of the step was carried out, or with `UNAVAILABLE` it is not known: what is held is
            # settled again on the next stream, where that can help.
            raise TidegateError.of(response.error)
        elif answer == "opened":
            stream.is_open = True
        elif answer == "leases":
            self._take(stream, id, response.leases)
        elif answer == "outcomes":
            outcomes = [pb.Outcome.Name(o).removeprefix("OUTCOME_") for o in response.outcomes.outcomes]
            for token, outcome in zip(stream.settles.pop(id, []), outcomes):
                self._was_settled(token, outcome)
            for token, outcome in zip(stream.extends.pop(id, []), outcomes):
                if outcome.startswith("LOST"):
                    self._lose(token, outcome)
        elif answer == "closed":
            stream.is_closed = True

    def _take(self, stream: _Stream, id: int, leases: pb.Leases) -> None:
        if leases.more:
            stream.credits[id] -= len(leases.leases)
        else:
            del stream.credits[id]
        for lease in leases.leases:
            held = self._held[lease.token] = _Held(lease)
            if self._is_stopping:
                held.verdict = _Release()
            else:
                held.work = asyncio.create_task(self._handle(held))

    # ---- one task ----

    async def _handle(self, held: _Held) -> None:
        try:
            held.verdict = await self._handler(held.lease.task)
        except Exception as error:  # whatever went wrong is a failed attempt
            held.verdict = Retry(f"{type(error).__name__}: {error}")
        self._has_news.set()

    def _was_settled(self, token: bytes, outcome: str) -> None:
        held = self._held.pop(token)
        if outcome.startswith("LOST"):
            _warn(f"task {held.lease.task.sequence} was settled too late: {outcome}")
        elif isinstance(held.verdict, (Complete, Retry)):
            self._settled(held.lease.task, held.verdict, outcome)

    def _lose(self, token: bytes, outcome: str) -> None:
        """Somebody else has the task now, or will: what is done here must stop."""
        held = self._held.get(token)
        if held and held.verdict is None:
            _warn(f"task {held.lease.task.sequence} was lost while it was worked on: {outcome}")
            del self._held[token]
            if held.work:
                held.work.cancel()

    def _give_back(self, held: _Held) -> None:
        if held.verdict is None and held.work:
            held.work.cancel()
            held.verdict = _Release()
            self._has_news.set()

    def _forget_all(self) -> None:
        for held in self._held.values():
            if held.work:
                held.work.cancel()
        self._held.clear()

    def _next_id(self) -> int:
        self._last_id += 1
        return self._last_id


def _warn(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
