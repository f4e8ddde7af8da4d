"""What went wrong, and whether trying again helps."""

from __future__ import annotations

import grpc
from google.rpc import status_pb2

from tidegate.v1 import broker_pb2 as pb

# Failures that carry no `Error`: they come from the connection, or from the door in front of the broker. What a
# connection that breaks in the middle leaves is told as INTERNAL or UNKNOWN at times; the broker's own come with an
# `Error`.
_KINDS = {
    grpc.StatusCode.INTERNAL: "UNAVAILABLE",
    grpc.StatusCode.UNKNOWN: "UNAVAILABLE",
    grpc.StatusCode.UNAVAILABLE: "UNAVAILABLE",
    grpc.StatusCode.CANCELLED: "UNAVAILABLE",
    grpc.StatusCode.DEADLINE_EXCEEDED: "UNAVAILABLE",
    grpc.StatusCode.UNAUTHENTICATED: "DENIED",
    grpc.StatusCode.PERMISSION_DENIED: "DENIED",
    grpc.StatusCode.UNIMPLEMENTED: "UNSUPPORTED",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "INVALID",
    grpc.StatusCode.INVALID_ARGUMENT: "INVALID",
}


class TidegateError(Exception):
    """A failed call. `kind` is a name of `ErrorKind`; `retryable` says whether the same call can succeed
    later with nothing changed by the caller."""

    def __init__(self, kind: str, message: str, *, retryable: bool, subject: str = "") -> None:
        about = f"{subject}: {message}" if subject else message
        helps = "trying again helps" if retryable else "trying again does not help"
        super().__init__(f"{kind}: {about} ({helps})")
        self.kind = kind
        self.retryable = retryable

    @classmethod
    def of(cls, error: pb.Error) -> TidegateError:
        """The error as the protocol tells it."""
        try:
            kind = pb.ErrorKind.Name(error.kind).removeprefix("ERROR_KIND_")
        except ValueError:  # of a newer server; `retryable` is all that can be known of it
            kind = "UNAVAILABLE" if error.retryable else "UNEXPECTED"
        message = ": ".join([error.message, *error.causes])
        return cls(kind, message, retryable=error.retryable, subject=error.subject)

    @classmethod
    def of_status(cls, status: grpc.aio.AioRpcError) -> TidegateError:
        """The `Error` among the details of a status, else the best that can be made of its code."""
        for key, value in status.trailing_metadata() or ():
            if key == "grpc-status-details-bin":
                for detail in status_pb2.Status.FromString(value).details:
                    error = pb.Error()
                    if detail.Unpack(error):
                        return cls.of(error)
        kind = _KINDS.get(status.code(), "UNEXPECTED")
        message = status.details() or status.code().name
        return cls(kind, message, retryable=kind == "UNAVAILABLE")

    @classmethod
    def away(cls, message: str) -> TidegateError:
        """The server is not to be reached now."""
        return cls("UNAVAILABLE", message, retryable=True)
