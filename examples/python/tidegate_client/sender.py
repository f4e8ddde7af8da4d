"""The stream of sends: requests go out as they come, their receipts come back in any order."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass

import grpc

from tidegate.v1 import broker_pb2 as pb

from .errors import TidegateError
from .link import Link, Server
from .together import together


@dataclass
class _Request:
    message: pb.EnqueueRequest
    receipt: asyncio.Future[list[pb.Enqueued]]


class Sender:
    """Sends tasks, many requests at a time.

    When the connection is lost, requests without a receipt are sent again on the next one, in their order.
    Whether the first try went in is not known then: give tasks dedup keys, so that both make one task.
    """

    def __init__(self, server: Server, patience: float = 30.0) -> None:
        self._server = server
        self._patience = patience
        self._last_id = 0
        self._waiting: deque[_Request] = deque()
        self._unanswered: dict[int, _Request] = {}  # in the order they went out
        self._unanswered_bytes = 0
        self._has_news = asyncio.Event()
        self._failure: TidegateError | None = None
        self._runner = asyncio.create_task(self._run())

    async def send(self, queue: str, tasks: list[pb.NewTask]) -> list[pb.Enqueued]:
        """Enqueues tasks, at most `batch_max`. One outcome for each; look at its `error`."""
        if self._failure:
            raise self._failure
        self._last_id += 1
        message = pb.EnqueueRequest(id=self._last_id, queue=queue, tasks=tasks)
        request = _Request(message, asyncio.get_running_loop().create_future())
        self._waiting.append(request)
        self._has_news.set()
        return await request.receipt

    async def close(self) -> None:
        """Ends it. What has no receipt yet may have gone in or not."""
        self._runner.cancel()
        await asyncio.gather(self._runner, return_exceptions=True)
        self._fail(TidegateError("CLOSED", "the sender was closed", retryable=False))

    async def _run(self) -> None:
        try:
            while True:
                link = await self._server.reach(self._patience)
                try:
                    await self._exchange(link)
                except grpc.aio.AioRpcError as status:
                    error = TidegateError.of_status(status)
                    if not error.retryable:
                        raise error from status
                finally:
                    await link.close()
                self._waiting.extendleft(reversed(self._unanswered.values()))
                self._unanswered.clear()
                self._unanswered_bytes = 0
        except TidegateError as error:
            self._fail(error)
        except Exception as error:
            self._fail(TidegateError("UNEXPECTED", str(error), retryable=False))
            raise

    async def _exchange(self, link: Link) -> None:
        """Sends and receives until the stream ends."""
        stream = link.stub.Enqueue(metadata=link.metadata)
        first = await stream.read()
        if first is grpc.aio.EOF:
            return
        await together(self._read(stream), self._write(link, stream, first.credit_bytes))

    async def _read(self, stream: grpc.aio.StreamStreamCall) -> None:
        while (response := await stream.read()) is not grpc.aio.EOF:
            self._receive(response)

    async def _write(self, link: Link, stream: grpc.aio.StreamStreamCall, credit: int) -> None:
        try:
            while True:
                while self._may_send(link, credit):
                    request = self._waiting.popleft()
                    self._unanswered[request.message.id] = request
                    self._unanswered_bytes += request.message.ByteSize()
                    await stream.write(request.message)
                self._has_news.clear()
                await self._has_news.wait()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            pass  # why the stream has ended is told to its reader

    def _may_send(self, link: Link, credit: int) -> bool:
        if not self._waiting or link.draining.is_set():
            return False
        # One that is larger than the credit goes alone.
        size = self._waiting[0].message.ByteSize()
        return not self._unanswered or self._unanswered_bytes + size <= credit

    def _receive(self, response: pb.EnqueueResponse) -> None:
        request = self._unanswered.pop(response.id)
        self._unanswered_bytes -= request.message.ByteSize()
        self._has_news.set()
        if request.receipt.done():
            return  # the caller has gone
        if response.HasField("error"):
            request.receipt.set_exception(TidegateError.of(response.error))
        else:
            request.receipt.set_result(list(response.outcomes))

    def _fail(self, error: TidegateError) -> None:
        self._failure = error
        for request in [*self._unanswered.values(), *self._waiting]:
            if not request.receipt.done():
                request.receipt.set_exception(error)
