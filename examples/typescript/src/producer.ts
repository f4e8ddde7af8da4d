// Sends flights, one task for each line of a file, and tells how many there were.

import { parseArgs } from "node:util";

import * as flights from "./flights.js";
import { TidegateError } from "./tidegate/errors.js";
import { Server } from "./tidegate/link.js";
import { Sender } from "./tidegate/sender.js";

/** A request is one call of the broker; many are on their way at the same time. */
const TASKS_PER_REQUEST = 100;

async function sendAll(server: Server, queue: string, path: string): Promise<void> {
  const tasks = flights.read(path);
  const link = await server.reach(AbortSignal.timeout(30_000));
  await link.declare(flights.queue(queue)).finally(() => link.close());
  const sender = new Sender(server);
  const receipts = [];
  for (let from = 0; from < tasks.length; from += TASKS_PER_REQUEST) {
    receipts.push(sender.send(queue, tasks.slice(from, from + TASKS_PER_REQUEST)));
  }
  const outcomes = (await Promise.all(receipts).finally(() => sender.close())).flat();
  const refused = outcomes.flatMap((outcome) => outcome.error ?? []);
  if (refused[0]) {
    console.error(`${refused.length} of ${outcomes.length} were refused`);
    throw TidegateError.of(refused[0]);
  }
  const known = outcomes.filter((outcome) => outcome.deduplicated).length;
  console.log(`sent=${outcomes.length} deduplicated=${known}`);
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    server: { type: "string", default: "127.0.0.1:9326" },
    queue: { type: "string" },
    token: { type: "string" },
  },
});
const [path] = positionals;
if (values.queue === undefined || path === undefined) {
  console.error("usage: producer [--server HOST:PORT] [--token T] --queue NAME PATH");
  process.exit(2);
}
try {
  await sendAll(new Server(values.server, values.token), values.queue, path);
} catch (error) {
  if (!(error instanceof TidegateError)) throw error;
  console.error(`failed: ${error.message}`);
  process.exitCode = 1;
}
