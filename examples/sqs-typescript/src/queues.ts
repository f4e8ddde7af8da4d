// The queues of both programs: whoever comes first creates them.

import {
  CreateQueueCommand,
  GetQueueAttributesCommand,
  SQSServiceException,
  type SQSClient,
} from "@aws-sdk/client-sqs";

/** Receives of one message before it goes to the dead-letter queue. */
const RECEIVES_MAX = 10;
/** What the server refuses for now only. */
const FOR_NOW = new Set(["OverLimit", "RequestThrottled", "ThrottlingException"]);

/** The URLs of the partitions NAME-0.fifo, NAME-1.fifo and so on, which share a dead-letter queue. */
export async function open(sqs: SQSClient, name: string, partitions: number): Promise<string[]> {
  const dead = await create(sqs, `${name}-dead.fifo`, {});
  const asked = await sqs.send(new GetQueueAttributesCommand({ QueueUrl: dead, AttributeNames: ["QueueArn"] }));
  const redrive = { deadLetterTargetArn: asked.Attributes?.["QueueArn"], maxReceiveCount: RECEIVES_MAX };
  const urls = [];
  for (let partition = 0; partition < partitions; partition += 1) {
    urls.push(await create(sqs, `${name}-${partition}.fifo`, { RedrivePolicy: JSON.stringify(redrive) }));
  }
  return urls;
}

async function create(sqs: SQSClient, name: string, attributes: Record<string, string>): Promise<string> {
  const Attributes = { FifoQueue: "true", ...attributes };
  const created = await sqs.send(new CreateQueueCommand({ QueueName: name, Attributes }));
  return created.QueueUrl as string;
}

/** Whether a call fails again, however often it is tried. */
export function isForGood(error: unknown): error is SQSServiceException {
  if (!(error instanceof SQSServiceException) || FOR_NOW.has(error.name)) return false;
  const status = error.$metadata.httpStatusCode ?? 500;
  return status >= 400 && status < 500 && status !== 429;
}
