"""How long to wait before something is tried again: exponential backoff with full jitter, as in "Exponential Backoff
And Jitter" (AWS Architecture Blog, 2015), equal to that of Tidegate itself."""

import math
import random
import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class Backoff:
    """Waits are between 0 and `initial_ms * multiplier ** (retry - 1)`, at most `max_ms`: those that failed together
    do not come back together."""

    initial_ms: float = 1_000
    multiplier: float = 2.0  # 1 or more
    max_ms: float = 900_000

    def delay_ms(self, retry: int, drawn: float | None = None) -> int:
        """Whole milliseconds before retry `retry`, from 1. `drawn` is in [0, 1); without it, it is drawn here."""
        drawn = random.random() if drawn is None else drawn
        return math.floor(drawn * min(self.initial_ms * self._growth(retry), self.max_ms))

    def visibility_seconds(self, retry: int, drawn: float | None = None) -> int:
        """The same for a visibility timeout of SQS, which has whole seconds: rounded up, at most 12 hours."""
        return min(math.ceil(self.delay_ms(retry, drawn) / 1_000), 43_200)

    def _growth(self, retry: int) -> float:
        try:
            return float(self.multiplier) ** (max(retry, 1) - 1)
        except OverflowError:
            return sys.float_info.max
