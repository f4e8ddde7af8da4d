// The helpers equal Tidegate's own: `npm test`.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { Backoff } from "./backoff.js";
import { partition } from "./routing.js";

interface Vectors {
  routing: { key: string; partitions: [count: number, partition: number][] }[];
  backoff: {
    initial_ms: number;
    multiplier: number;
    max_ms: number;
    delays_ms: [retry: number, drawn: number, delayMs: number][];
  }[];
}

const vectors = JSON.parse(readFileSync(new URL("../../vectors.json", import.meta.url), "utf8")) as Vectors;

test("a key has the partition that it has everywhere", () => {
  let compared = 0;
  for (const { key, partitions } of vectors.routing) {
    for (const [count, expected] of partitions) {
      assert.equal(partition(key, count), expected, `${JSON.stringify(key)} of ${count}`);
      compared += 1;
    }
  }
  assert.ok(compared > 600);
});

test("a wait is as long as it is everywhere", () => {
  let compared = 0;
  for (const { initial_ms, multiplier, max_ms, delays_ms } of vectors.backoff) {
    const backoff = new Backoff(initial_ms, multiplier, max_ms);
    for (const [retry, drawn, expected] of delays_ms) {
      assert.equal(backoff.delayMs(retry, drawn), expected, `${initial_ms} * ${multiplier}: ${retry}, ${drawn}`);
      compared += 1;
    }
  }
  assert.ok(compared > 700);
});

test("a visibility timeout is in whole seconds that SQS allows", () => {
  const backoff = new Backoff(1_000, 10, 100_000_000);
  assert.equal(backoff.visibilitySeconds(1, 0), 0);
  assert.equal(backoff.visibilitySeconds(1, 0.001), 1);
  assert.equal(backoff.visibilitySeconds(2, 0.5), 5);
  assert.equal(backoff.visibilitySeconds(9, 0.9), 43_200);
});

test("no partitions are refused", () => {
  assert.throws(() => partition("key", 0), RangeError);
});
