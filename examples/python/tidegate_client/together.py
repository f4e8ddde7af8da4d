"""Coroutines that run side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def together(first: Coroutine[Any, Any, T], *others: Coroutine[Any, Any, None]) -> T:
    """Runs all until the first has ended or any has failed; then the rest are cancelled."""
    main = asyncio.ensure_future(first)
    tasks: list[asyncio.Task[Any]] = [main, *map(asyncio.ensure_future, others)]
    try:
        pending = set(tasks)
        while not main.done():
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()  # or what it failed with
        return main.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
