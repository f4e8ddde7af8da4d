// How coroutines that share state tell each other that it has changed.

import { setTimeout as delay } from "node:timers/promises";

/** Something has changed. One who waits sees it, however often it was told, also from before the wait. */
export class News {
  #isThere = false;
  #tell: (() => void) | undefined;

  tell(): void {
    this.#isThere = true;
    this.#tell?.();
  }

  /** Waits until something has changed since the last wait, or `signal` is aborted. For one at a time. */
  async wait(signal: AbortSignal): Promise<void> {
    if (!this.#isThere && !signal.aborted) {
      await new Promise<void>((resolve) => {
        const done = () => {
          signal.removeEventListener("abort", done);
          this.#tell = undefined;
          resolve();
        };
        this.#tell = done;
        signal.addEventListener("abort", done);
      });
    }
    this.#isThere = false;
  }
}

/** Sleeps, or returns early when `signal` is aborted. */
export async function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  await delay(ms, undefined, { signal }).catch((error: unknown) => {
    if (!signal?.aborted) throw error;
  });
}
