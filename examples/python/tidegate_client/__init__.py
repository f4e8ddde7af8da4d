"""A client of the native protocol: a sender of tasks, and a worker on a queue. Copy it and change it."""

from .errors import TidegateError
from .link import Link, Server
from .sender import Sender
from .worker import Complete, Retry, Verdict, Worker

__all__ = ["Complete", "Link", "Retry", "Sender", "Server", "TidegateError", "Verdict", "Worker"]
