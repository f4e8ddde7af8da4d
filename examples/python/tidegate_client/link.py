"""One connection, from its hello to its end, and how one is followed by the next."""

from __future__ import annotations

import asyncio
import random
import sys

import grpc

from tidegate.v1 import broker_pb2 as pb
from tidegate.v1 import broker_pb2_grpc

from .errors import TidegateError

HELLO_SECONDS = 5.0
BACKOFF_SECONDS = 0.1
BACKOFF_SECONDS_MAX = 2.0

_OPTIONS = [
    # Leases come in parts of about 1 MiB, but one payload can be 16 MiB.
    ("grpc.max_receive_message_length", 32 << 20),
    # A peer that vanished without a word is noticed, though nothing is sent.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # How long to wait before the next try is decided here, not by what channels before this one met.
    ("grpc.use_local_subchannel_pool", 1),
]


class Link:
    """A connection that is up. `draining` is set when no more calls may begin on it: the server has said
    that it ends, or is gone."""

    def __init__(self, channel: grpc.aio.Channel, metadata: list[tuple[str, str]]) -> None:
        self.stub = broker_pb2_grpc.BrokerStub(channel)
        self.metadata = metadata
        self.welcome = pb.Welcome()
        self.draining = asyncio.Event()
        self._channel = channel
        self._hello = self.stub.Hello(pb.HelloRequest(client="python example"), metadata=metadata)
        self._watcher: asyncio.Task[None] | None = None

    async def _greet(self) -> None:
        try:
            first = await asyncio.wait_for(self._hello.read(), HELLO_SECONDS)
        except grpc.aio.AioRpcError as status:
            raise TidegateError.of_status(status) from status
        except TimeoutError:
            raise TidegateError.away("the server did not answer") from None
        if first is grpc.aio.EOF or first.WhichOneof("event") != "welcome":
            raise TidegateError.away("the server is ending")
        self.welcome = first.welcome
        self._watcher = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        try:
            while (event := await self._hello.read()) is not grpc.aio.EOF:
                if event.WhichOneof("event") == "draining":
                    break
        except grpc.aio.AioRpcError:
            pass  # gone without a word
        self.draining.set()

    @property
    def leases_outlive_it(self) -> bool:
        """Whether a lease goes on when the connection ends, so that it can be settled on the next one."""
        return self.welcome.capabilities.lease == pb.LEASE_SUPPORT_TIMED

    async def declare(self, spec: pb.QueueSpec) -> None:
        """Creates a queue, or finds it with the same spec."""
        try:
            await self.stub.Declare(pb.DeclareRequest(spec=spec), metadata=self.metadata)
        except grpc.aio.AioRpcError as status:
            raise TidegateError.of_status(status) from status

    async def close(self) -> None:
        if self._watcher:
            self._watcher.cancel()
        await self._channel.close()


class Server:
    """Where the server is, and the token that lets in."""

    def __init__(self, address: str, token: str | None = None) -> None:
        self._address = address
        self._metadata = [("authorization", f"Bearer {token}")] if token else []

    async def dial(self) -> Link:
        """Connects once."""
        link = Link(grpc.aio.insecure_channel(self._address, _OPTIONS), self._metadata)
        try:
            await link._greet()
        except BaseException:
            await link.close()
            raise
        return link

    async def reach(self, patience: float | None = None) -> Link:
        """Connects, and tries again while that can help: for so many seconds, or for ever."""
        loop = asyncio.get_running_loop()
        begun, wait = loop.time(), BACKOFF_SECONDS
        while True:
            try:
                return await self.dial()
            except TidegateError as error:
                if not error.retryable or (patience is not None and loop.time() - begun > patience):
                    raise
                print(f"trying again: {error}", file=sys.stderr, flush=True)
            # Full jitter, so that all clients of a server do not come back at once.
            await asyncio.sleep(random.uniform(0, wait))
            wait = min(wait * 2, BACKOFF_SECONDS_MAX)
