// The stream of sends: requests go out as they come, their receipts come back in any order.

import { create, toBinary, type MessageInitShape } from "@bufbuild/protobuf";

import {
  EnqueueRequestSchema,
  type Enqueued,
  type EnqueueRequest,
  type EnqueueResponse,
  type NewTaskSchema,
} from "../gen/tidegate/v1/broker_pb.js";
import { TidegateError } from "./errors.js";
import type { Link, Server } from "./link.js";
import { News } from "./news.js";

interface Request {
  message: EnqueueRequest;
  bytes: number;
  resolve: (outcomes: Enqueued[]) => void;
  reject: (error: TidegateError) => void;
}

/**
 * Sends tasks, many requests at a time.
 *
 * When the connection is lost, requests without a receipt are sent again on the next one, in their order. Whether
 * the first try went in is not known then: give tasks dedup keys, so that both make one task.
 */
export class Sender {
  #lastId = 0n;
  #waiting: Request[] = [];
  #unanswered = new Map<bigint, Request>(); // in the order they went out
  #unansweredBytes = 0;
  #failure: TidegateError | undefined;
  readonly #news = new News();
  readonly #life = new AbortController();

  /** Begins to connect. It fails once there is no connection for so long. */
  constructor(
    readonly server: Server,
    readonly patienceMs = 30_000,
  ) {
    void this.#run();
  }

  /** Enqueues tasks, at most `batch_max`. One outcome for each; look at its `error`. */
  async send(queue: string, tasks: MessageInitShape<typeof NewTaskSchema>[]): Promise<Enqueued[]> {
    if (this.#failure) throw this.#failure;
    const message = create(EnqueueRequestSchema, { id: ++this.#lastId, queue, tasks });
    const bytes = toBinary(EnqueueRequestSchema, message).length;
    return new Promise((resolve, reject) => {
      this.#waiting.push({ message, bytes, resolve, reject });
      this.#news.tell();
    });
  }

  /** Ends it. What has no receipt yet may have gone in or not. */
  close(): void {
    this.#fail(new TidegateError("CLOSED", "the sender was closed", false));
    this.#life.abort();
  }

  async #run(): Promise<void> {
    try {
      while (!this.#life.signal.aborted) {
        const patience = AbortSignal.timeout(this.patienceMs);
        const link = await this.server.reach(AbortSignal.any([patience, this.#life.signal]));
        try {
          await this.#exchange(link);
        } catch (error) {
          const told = TidegateError.ofStatus(error);
          if (!told.retryable) throw told;
        } finally {
          link.close();
        }
        this.#waiting.unshift(...this.#unanswered.values());
        this.#unanswered.clear();
        this.#unansweredBytes = 0;
      }
    } catch (error) {
      this.#fail(TidegateError.ofStatus(error));
    }
  }

  /** Sends and receives until the stream ends. */
  async #exchange(link: Link): Promise<void> {
    const end = new AbortController();
    const credit = { bytes: 0n }; // until the first response, none
    const signal = AbortSignal.any([end.signal, this.#life.signal]);
    try {
      for await (const response of link.calls.enqueue(this.#requests(link, credit, signal), { signal })) {
        if (response.creditBytes > 0n) credit.bytes = response.creditBytes;
        else this.#receive(response);
        this.#news.tell();
      }
    } finally {
      end.abort();
    }
  }

  async *#requests(link: Link, credit: { bytes: bigint }, signal: AbortSignal): AsyncGenerator<EnqueueRequest> {
    while (!signal.aborted) {
      for (let request; (request = this.#next(link, credit.bytes)); ) yield request.message;
      await this.#news.wait(signal);
    }
  }

  /** The next request that may go out. */
  #next(link: Link, credit: bigint): Request | undefined {
    const [request] = this.#waiting;
    if (!request || credit === 0n || !link.mayBegin) return undefined;
    if (this.#unanswered.size > 0 && BigInt(this.#unansweredBytes + request.bytes) > credit) return undefined;
    this.#waiting.shift();
    this.#unanswered.set(request.message.id, request);
    this.#unansweredBytes += request.bytes;
    return request;
  }

  #receive(response: EnqueueResponse): void {
    const request = this.#unanswered.get(response.id);
    if (!request) return;
    this.#unanswered.delete(response.id);
    this.#unansweredBytes -= request.bytes;
    if (response.error) request.reject(TidegateError.of(response.error));
    else request.resolve(response.outcomes);
  }

  #fail(error: TidegateError): void {
    this.#failure = error;
    for (const request of [...this.#unanswered.values(), ...this.#waiting]) request.reject(error);
    this.#unanswered.clear();
    this.#waiting = [];
  }
}
