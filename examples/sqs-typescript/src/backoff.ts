// How long to wait before something is tried again: exponential backoff with full jitter, as in "Exponential Backoff
// And Jitter" (AWS Architecture Blog, 2015), equal to that of Tidegate itself.

/**
 * Waits are between 0 and `initialMs * multiplier ** (retry - 1)`, at most `maxMs`: those that failed together do not
 * come back together.
 */
export class Backoff {
  /** @param multiplier 1 or more */
  constructor(
    private readonly initialMs = 1_000,
    private readonly multiplier = 2,
    private readonly maxMs = 900_000,
  ) {}

  /** Whole milliseconds before retry `retry`, from 1. `drawn` is in [0, 1). */
  delayMs(retry: number, drawn = Math.random()): number {
    const growth = Math.min(this.multiplier ** (Math.max(retry, 1) - 1), Number.MAX_VALUE);
    return Math.floor(drawn * Math.min(this.initialMs * growth, this.maxMs));
  }

  /** The same for a visibility timeout of SQS, which has whole seconds: rounded up, at most 12 hours. */
  visibilitySeconds(retry: number, drawn = Math.random()): number {
    return Math.min(Math.ceil(this.delayMs(retry, drawn) / 1_000), 43_200);
  }
}
