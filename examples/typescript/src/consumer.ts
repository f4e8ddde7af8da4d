// Works on flights until SIGTERM or Ctrl-C, and prints a line for each verdict.

import { parseArgs } from "node:util";

import * as flights from "./flights.js";
import { TidegateError } from "./tidegate/errors.js";
import { Server } from "./tidegate/link.js";
import { Worker } from "./tidegate/worker.js";

const { values } = parseArgs({
  options: {
    server: { type: "string", default: "127.0.0.1:9326" },
    queue: { type: "string" },
    token: { type: "string" },
    /** Most tasks at a time. */
    concurrency: { type: "string", default: "16" },
    /** Hold tasks for so long; else the queue says. */
    "lease-ms": { type: "string" },
    /** How long to work on each task. */
    "work-ms": { type: "string", default: "0" },
  },
});
if (values.queue === undefined) {
  console.error("usage: consumer [--server HOST:PORT] [--token T] --queue NAME");
  process.exit(2);
}
const stop = new AbortController();
for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, () => stop.abort());
const worker = new Worker({
  server: new Server(values.server, values.token),
  spec: flights.queue(values.queue),
  handler: flights.handler(Number(values["work-ms"])),
  settled: flights.show,
  concurrency: Number(values.concurrency),
  leaseMs: values["lease-ms"] === undefined ? undefined : Number(values["lease-ms"]),
  graceMs: 2_000,
});
try {
  await worker.run(stop.signal);
} catch (error) {
  if (!(error instanceof TidegateError)) throw error;
  console.error(`failed: ${error.message}`);
  process.exitCode = 1;
}
