// Asks SQS what it is told to on stdin and answers on stdout: a line each.
//
// A question is {"endpoint": URL, "action": "SendMessage", "members": {...}}. An answer is {"done": {...}},
// {"refused": CODE}, or {"unknown": WHY} where no answer came and what was asked may have been done or not. Each
// question is one request: nothing is asked again.

import { createInterface } from "node:readline";

import * as sdk from "@aws-sdk/client-sqs";

type Question = { endpoint: string; action: string; members: object };
type Command = Parameters<sdk.SQSClient["send"]>[0];
type Commands = Record<string, (new (members: object) => Command) | undefined>;

const clients = new Map<string, sdk.SQSClient>();

function client(endpoint: string): sdk.SQSClient {
  const known = clients.get(endpoint) ?? new sdk.SQSClient({ endpoint, maxAttempts: 1 });
  clients.set(endpoint, known);
  return known;
}

async function answer({ endpoint, action, members }: Question): Promise<object> {
  const Asked = (sdk as unknown as Commands)[`${action}Command`];
  if (!Asked) throw new Error(`there is no action ${action}`);
  try {
    const { $metadata: _, ...done } = await client(endpoint).send(new Asked(members));
    return { done };
  } catch (error) {
    const isCertain = error instanceof sdk.SQSServiceException && (error.$metadata.httpStatusCode ?? 500) < 500;
    return isCertain ? { refused: error.name } : { unknown: String(error) };
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(await answer(JSON.parse(line) as Question)));
}
