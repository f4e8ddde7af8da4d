// Works on flights of all partitions until SIGTERM or Ctrl-C, and prints a line for each verdict.

import { parseArgs } from "node:util";

import { SQSClient } from "@aws-sdk/client-sqs";

import * as flights from "./flights.js";
import { isForGood, open } from "./queues.js";
import { work } from "./worker.js";

const { values } = parseArgs({
  options: {
    queue: { type: "string" },
    partitions: { type: "string", default: "1" },
    /** Hide flights from others for so many seconds; they are extended while they are worked on. */
    "visibility-s": { type: "string", default: "30" },
    /** How long to work on each flight. */
    "work-ms": { type: "string", default: "0" },
  },
});
if (values.queue === undefined) {
  console.error("usage: consumer --queue NAME [--partitions N] [--visibility-s S] [--work-ms MS]");
  process.exit(2);
}
const stop = new AbortController();
for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, () => stop.abort());
const handler = flights.handler(Number(values["work-ms"]));
const visibilityS = Number(values["visibility-s"]);
try {
  // Where the server is and who asks it: AWS_ENDPOINT_URL_SQS, AWS_REGION, AWS_ACCESS_KEY_ID and so on.
  const sqs = new SQSClient();
  const urls = await open(sqs, values.queue, Number(values.partitions));
  const works = urls.map((url) => work({ sqs, url, handler, settled: flights.show, visibilityS }, stop.signal));
  await Promise.all(works).finally(() => stop.abort());
} catch (error) {
  if (!isForGood(error)) throw error;
  console.error(`failed: ${error.name}: ${error.message}`);
  process.exitCode = 1;
}
