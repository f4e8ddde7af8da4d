// Sends messages to a FIFO queue in batches. What is refused for now is sent again.

import { setTimeout as sleep } from "node:timers/promises";

import {
  SendMessageBatchCommand,
  type BatchResultErrorEntry,
  type SendMessageBatchRequestEntry,
  type SQSClient,
} from "@aws-sdk/client-sqs";

import { Backoff } from "./backoff.js";

export type Outgoing = Omit<SendMessageBatchRequestEntry, "Id">;

const ENTRIES_MAX = 10;
/** What SQS takes in one call. */
const BATCH_BYTES_MAX = 1_048_576;
/** More than the attributes of a message have here. */
const ATTRIBUTES_BYTES = 1_024;
const TRIES_MAX = 8;

/** Sends in order and returns what was refused for good, one entry each. */
export async function sendAll(sqs: SQSClient, url: string, messages: Outgoing[]): Promise<BatchResultErrorEntry[]> {
  const refused = [];
  for (const batch of batches(messages)) refused.push(...(await sendBatch(sqs, url, batch)));
  return refused;
}

/** At most one message of a group is in a batch: one that has to be sent again still comes before the next. */
function batches(messages: Outgoing[]): Outgoing[][] {
  const batches: Outgoing[][] = [];
  let [groups, bytes] = [new Set<string>(), 0];
  for (const message of messages) {
    const group = message.MessageGroupId as string;
    const size = Buffer.byteLength(message.MessageBody as string) + ATTRIBUTES_BYTES;
    const batch = batches.at(-1);
    if (batch && batch.length < ENTRIES_MAX && !groups.has(group) && bytes + size <= BATCH_BYTES_MAX) {
      batch.push(message);
      groups.add(group);
      bytes += size;
    } else {
      batches.push([message]);
      [groups, bytes] = [new Set([group]), size];
    }
  }
  return batches;
}

/** A batch is answered entry by entry: some may be there, others not. */
async function sendBatch(sqs: SQSClient, url: string, batch: Outgoing[]): Promise<BatchResultErrorEntry[]> {
  const backoff = new Backoff(100, 2, 5_000);
  const refused = [];
  let left = batch.map((message, at) => ({ ...message, Id: String(at) }));
  for (let retry = 1; ; retry += 1) {
    const answer = await sqs.send(new SendMessageBatchCommand({ QueueUrl: url, Entries: left }));
    const failed = answer.Failed ?? [];
    refused.push(...failed.filter((entry) => entry.SenderFault));
    const again = failed.filter((entry) => !entry.SenderFault);
    if (again.length === 0) return refused;
    if (retry === TRIES_MAX) return [...refused, ...again];
    const ids = new Set(again.map((entry) => entry.Id));
    left = left.filter((entry) => ids.has(entry.Id));
    await sleep(backoff.delayMs(retry));
  }
}
