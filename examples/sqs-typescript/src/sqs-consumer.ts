// Works on orders with sqs-consumer, as it is: `node dist/sqs-consumer.js`. One order fails at first.

import { CreateQueueCommand, SendMessageBatchCommand, SQSClient } from "@aws-sdk/client-sqs";
import { Consumer } from "sqs-consumer";

const ORDERS = 20;
const ENTRIES_MAX = 10;

const sqs = new SQSClient();
const { QueueUrl: queueUrl = "" } = await sqs.send(new CreateQueueCommand({ QueueName: "orders" }));
for (let from = 0; from < ORDERS; from += ENTRIES_MAX) {
  const numbers = Array.from({ length: ENTRIES_MAX }, (_, at) => from + at);
  const Entries = numbers.map((number) => ({ Id: String(number), MessageBody: JSON.stringify({ order: number }) }));
  await sqs.send(new SendMessageBatchCommand({ QueueUrl: queueUrl, Entries }));
}

let done = 0;
const consumer = Consumer.create({
  sqs,
  queueUrl,
  batchSize: 10,
  waitTimeSeconds: 20,
  visibilityTimeout: 30,
  heartbeatInterval: 10,
  // What fails can be received again at once.
  terminateVisibilityTimeout: true,
  messageSystemAttributeNames: ["ApproximateReceiveCount"],
  handleMessage: async (message) => {
    const { order } = JSON.parse(message.Body as string) as { order: number };
    const attempt = Number(message.Attributes?.ApproximateReceiveCount);
    if (order === 7 && attempt === 1) throw new Error("it is tried again");
    console.log(`order=${order} attempt=${attempt}`);
    return message;
  },
});
consumer.on("message_processed", () => {
  done += 1;
  if (done === ORDERS) consumer.stop({ abort: true });
});
consumer.on("error", (error) => console.error(`failed: ${error.message}`));
consumer.on("processing_error", (error) => console.error(`failed: ${error.message}`));
consumer.start();
