// Sends flights, one message for each line of a file, to the partition of their aircraft.

import { parseArgs } from "node:util";

import { SQSClient } from "@aws-sdk/client-sqs";

import * as flights from "./flights.js";
import { isForGood, open } from "./queues.js";
import { partition } from "./routing.js";
import { sendAll } from "./sender.js";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { queue: { type: "string" }, partitions: { type: "string", default: "1" } },
});
const [path] = positionals;
if (values.queue === undefined || path === undefined) {
  console.error("usage: producer --queue NAME [--partitions N] PATH");
  process.exit(2);
}
try {
  // Where the server is and who asks it: AWS_ENDPOINT_URL_SQS, AWS_REGION, AWS_ACCESS_KEY_ID and so on.
  const sqs = new SQSClient();
  const urls = await open(sqs, values.queue, Number(values.partitions));
  const messages = flights.read(path);
  const of = (at: number) =>
    messages.filter(({ MessageGroupId }) => partition(MessageGroupId as string, urls.length) === at);
  const refused = (await Promise.all(urls.map((url, at) => sendAll(sqs, url, of(at))))).flat();
  console.log(`sent=${messages.length - refused.length} refused=${refused.length}`);
  if (refused[0]) {
    console.error(`failed: ${refused[0].Code}: ${refused[0].Message}`);
    process.exitCode = 1;
  }
} catch (error) {
  if (!isForGood(error)) throw error;
  console.error(`failed: ${error.name}: ${error.message}`);
  process.exitCode = 1;
}
