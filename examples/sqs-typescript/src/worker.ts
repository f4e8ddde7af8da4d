// Receives messages of a FIFO queue, holds them while they are worked on, and settles them.

import { setTimeout as sleep } from "node:timers/promises";

import {
  ChangeMessageVisibilityBatchCommand,
  DeleteMessageBatchCommand,
  ReceiveMessageCommand,
  type BatchResultErrorEntry,
  type Message,
  type SQSClient,
} from "@aws-sdk/client-sqs";

import { Backoff } from "./backoff.js";
import { isForGood } from "./queues.js";

/** What becomes of a message. To try it again is to hide it for a while, longer from attempt to attempt. */
export type Verdict = { kind: "done" | "retry"; note: string };

export interface Work {
  sqs: SQSClient;
  url: string;
  /** Whatever it throws is a verdict to try again. It should end soon when the signal comes. */
  handler: (message: Message, stop: AbortSignal) => Promise<Verdict>;
  /** Hears of each verdict that was carried out. */
  settled: (message: Message, verdict: Verdict) => void;
  /** How long messages are hidden from others; they are extended while they are worked on. */
  visibilityS: number;
}

type Judged = { message: Message; verdict: Verdict };
type Hidden = { message: Message; seconds: number };
/** What is extended now and then, and the extension that is under way. */
type Held = { messages: Set<Message>; extending: Promise<void> };
type Answer = { Failed?: BatchResultErrorEntry[] | undefined };

const BATCH_MAX = 10;
const WAIT_SECONDS_MAX = 20;
const TRIES_MAX = 5;
/** Calls that failed, by the network or the server. */
const OF_CALLS = new Backoff(100, 2, 5_000);
/** Messages that failed. */
const OF_MESSAGES = new Backoff(1_000, 2, 900_000);

export function attemptOf(message: Message): number {
  return Number(message.Attributes?.ApproximateReceiveCount ?? 1);
}

/** Works until the signal comes, and gives back what is not done by then. */
export async function work(work: Work, stop: AbortSignal): Promise<void> {
  let failures = 0;
  while (!stop.aborted) {
    try {
      const batch = await receive(work, stop);
      failures = 0;
      await workOn(work, batch, stop);
    } catch (error) {
      if (stop.aborted) return;
      if (isForGood(error)) throw error;
      failures += 1;
      console.error(`trying again: ${String(error)}`);
      await sleep(OF_CALLS.delayMs(failures), undefined, { signal: stop }).catch(() => undefined);
    }
  }
}

/** A long poll: it is answered when there is something, and after 20 seconds. */
async function receive({ sqs, url, visibilityS }: Work, stop: AbortSignal): Promise<Message[]> {
  const command = new ReceiveMessageCommand({
    QueueUrl: url,
    MaxNumberOfMessages: BATCH_MAX,
    WaitTimeSeconds: WAIT_SECONDS_MAX,
    VisibilityTimeout: visibilityS,
    MessageSystemAttributeNames: ["ApproximateReceiveCount", "MessageGroupId"],
  });
  const answer = await sqs.send(command, { abortSignal: stop });
  return answer.Messages ?? [];
}

async function workOn(work: Work, batch: Message[], stop: AbortSignal): Promise<void> {
  const held: Held = { messages: new Set(batch), extending: Promise.resolve() };
  const heartbeat = setInterval(() => (held.extending = extend(work, held)), (work.visibilityS * 1_000) / 3);
  try {
    const done: Judged[] = [];
    const working = groups(batch).map((group) => workOnGroup(work, group, { held, done, stop }));
    await Promise.all(working);
    await remove(work, done);
  } finally {
    clearInterval(heartbeat);
  }
}

function groups(batch: Message[]): Message[][] {
  const groups = new Map<string, Message[]>();
  for (const message of batch) {
    const group = message.Attributes?.MessageGroupId ?? "";
    groups.set(group, [...(groups.get(group) ?? []), message]);
  }
  return [...groups.values()];
}

/** In order. Where one is not done, those behind it are given back: they come after it. */
async function workOnGroup(
  work: Work,
  group: Message[],
  { held, done, stop }: { held: Held; done: Judged[]; stop: AbortSignal },
): Promise<void> {
  for (const [at, message] of group.entries()) {
    const verdict = await judge(work, message, stop);
    if (verdict?.kind === "done") {
      done.push({ message, verdict });
      continue;
    }
    const rest = group.slice(at);
    for (const message of rest) held.messages.delete(message);
    await held.extending;
    const seconds = verdict ? OF_MESSAGES.visibilitySeconds(attemptOf(message)) : 0;
    await hide(work, rest.map((message, at) => ({ message, seconds: at === 0 ? seconds : 0 })));
    if (verdict) work.settled(message, verdict);
    return;
  }
}

/** Nothing where it has to stop. */
async function judge(work: Work, message: Message, stop: AbortSignal): Promise<Verdict | undefined> {
  if (stop.aborted) return undefined;
  try {
    return await work.handler(message, stop);
  } catch (error) {
    return stop.aborted ? undefined : { kind: "retry", note: String(error) };
  }
}

async function extend(work: Work, { messages }: Held): Promise<void> {
  const hidden = [...messages].map((message) => ({ message, seconds: work.visibilityS }));
  await hide(work, hidden).catch((error: unknown) => console.error(`not extended: ${String(error)}`));
}

async function hide({ sqs, url }: Work, hidden: Hidden[]): Promise<void> {
  await each(hidden, async (entries) => {
    const Entries = entries.map(({ message, seconds }, at) => {
      return { Id: String(at), ReceiptHandle: message.ReceiptHandle, VisibilityTimeout: seconds };
    });
    return sqs.send(new ChangeMessageVisibilityBatchCommand({ QueueUrl: url, Entries }));
  });
}

async function remove({ sqs, url, settled }: Work, done: Judged[]): Promise<void> {
  const removed = await each(done, async (entries) => {
    const Entries = entries.map(({ message }, at) => ({ Id: String(at), ReceiptHandle: message.ReceiptHandle }));
    return sqs.send(new DeleteMessageBatchCommand({ QueueUrl: url, Entries }));
  });
  for (const { message, verdict } of removed) settled(message, verdict);
}

/**
 * Makes a batch call, and makes it again for the entries that failed. Returns those that succeeded. Others, and all
 * where the server is away for long, come back when their visibility timeout is over.
 */
async function each<T extends { message: Message }>(all: T[], call: (entries: T[]) => Promise<Answer>): Promise<T[]> {
  const succeeded = new Set<T>();
  let left = all;
  for (let retry = 1; left.length > 0 && retry <= TRIES_MAX; retry += 1) {
    if (retry > 1) await sleep(OF_CALLS.delayMs(retry - 1));
    try {
      const failed = new Map((await call(left)).Failed?.map((entry) => [Number(entry.Id), entry]));
      const again: T[] = [];
      for (const [at, entry] of left.entries()) {
        const failure = failed.get(at);
        if (!failure) succeeded.add(entry);
        else if (failure.SenderFault) console.error(`lost ${entry.message.MessageId}: ${failure.Code}`);
        else again.push(entry);
      }
      left = again;
    } catch (error) {
      if (isForGood(error)) throw error;
      console.error(`trying again: ${String(error)}`);
    }
  }
  return all.filter((entry) => succeeded.has(entry));
}
