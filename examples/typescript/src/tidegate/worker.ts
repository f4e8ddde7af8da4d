// Receives tasks on the stream of work, runs a handler for each, and settles them.
//
// What is held belongs to the worker and outlives a connection, as its leases do. What was asked on a stream and
// not answered is forgotten with it: `Stream`. One coroutine reads answers, one takes the steps that the state
// calls for, whenever it has changed.

import { create, type MessageInitShape } from "@bufbuild/protobuf";

import {
  Outcome,
  WorkRequestSchema,
  type Lease,
  type Leases,
  type QueueSpecSchema,
  type Task,
  type VerdictSchema,
  type WorkRequest,
  type WorkResponse,
} from "../gen/tidegate/v1/broker_pb.js";
import { TidegateError, warn } from "./errors.js";
import { BACKOFF_MS, type Link, type Server } from "./link.js";
import { News, sleep } from "./news.js";

/** What a handler decides: the work is done; or the attempt failed, and the task comes back after a while, or
 * dies if it was its last. */
export type Verdict =
  | { kind: "complete"; note: string }
  | { kind: "retry"; afterMs: number; note: string };

export interface WorkerOptions {
  server: Server;
  spec: MessageInitShape<typeof QueueSpecSchema> & { name: string };
  /** Works on a task. The signal is aborted when its lease is lost. What it throws is a retry. */
  handler: (task: Task, signal: AbortSignal) => Promise<Verdict>;
  /** Told of each verdict, once the server has answered: the outcome is a name such as `DONE`. */
  settled: (task: Task, verdict: Verdict, outcome: string) => void;
  concurrency: number;
  /** How long a task is held unless it is extended, which is done after every third of it; else the queue says. */
  leaseMs?: number | undefined;
  /** How long handlers have to end once it is to stop. */
  graceMs: number;
}

/** A task from its lease until the server has answered for its verdict. */
interface Held {
  lease: Lease;
  verdict?: Verdict | { kind: "release" };
  work: AbortController;
}

/** The stream of work of one link, with the steps that are not answered, by their ids. */
class Stream {
  readonly credits = new Map<bigint, number>(); // what is left of each
  readonly settles = new Map<bigint, string[]>(); // the tokens
  readonly extends = new Map<bigint, string[]>();
  state: "new" | "opening" | "open" | "closing" | "closed" = "new";
  beatIsDue = false;
  creditsAreTaken = false;
  constructor(readonly link: Link) {}
}

/** One session on a stream is enough for one queue. */
const SESSION = 1;

/** Runs a handler for the tasks of a queue, so many at a time. */
export class Worker {
  readonly #held = new Map<string, Held>(); // by token
  readonly #news = new News();
  #lastId = 0n;
  #isStopping = false;

  constructor(readonly options: WorkerOptions) {}

  /**
   * Works until `stop` is aborted. Then nothing new is taken, handlers have `graceMs` to end, and what is still
   * held is given back. Reconnects for as long as that can help; throws a `TidegateError` where it does not.
   */
  async run(stop: AbortSignal): Promise<void> {
    const life = new AbortController();
    stop.addEventListener("abort", () => void this.#stop(life.signal));
    try {
      for (let isDone = false; !isDone; ) {
        const link = await this.#reach(stop);
        if (!link) return;
        try {
          await link.declare(this.options.spec);
          isDone = await this.#serve(link);
        } catch (error) {
          const told = TidegateError.ofStatus(error);
          if (!told.retryable) throw told;
          warn(`connecting again: ${told.message}`);
          await sleep(Math.random() * BACKOFF_MS);
        } finally {
          link.close();
        }
        if (!link.leasesOutliveIt) this.#forgetAll();
      }
    } finally {
      life.abort();
      this.#forgetAll();
    }
  }

  /** The next link, or none. Once it is to stop, only what is held is worth some waiting. */
  async #reach(stop: AbortSignal): Promise<Link | undefined> {
    try {
      return await this.options.server.reach(stop);
    } catch (error) {
      if (!stop.aborted) throw error;
    }
    if (this.#held.size === 0) return undefined;
    // If nobody answers, what is held comes back when its leases end.
    return this.options.server.reach(AbortSignal.timeout(this.options.graceMs)).catch(() => undefined);
  }

  async #stop(life: AbortSignal): Promise<void> {
    this.#isStopping = true;
    this.#news.tell();
    await sleep(this.options.graceMs, life);
    for (const held of this.#held.values()) {
      if (!held.verdict) {
        held.verdict = { kind: "release" };
        held.work.abort();
      }
    }
    this.#news.tell();
  }

  // ---- one stream ----

  /** Works on one link until its stream ends. Whether all was settled and the session closed. */
  async #serve(link: Link): Promise<boolean> {
    const stream = new Stream(link);
    const end = new AbortController();
    const { signal } = end;
    try {
      void this.#beat(stream, signal);
      for await (const response of link.calls.work(this.#write(stream, signal), { signal })) {
        this.#read(stream, response);
        this.#news.tell();
      }
      return stream.state === "closed";
    } finally {
      end.abort();
    }
  }

  /** Takes the steps that the state calls for, each time it has changed. */
  async *#write(stream: Stream, signal: AbortSignal): AsyncGenerator<WorkRequest> {
    while (!signal.aborted && stream.state !== "closed") {
      if (stream.link.mayBegin) {
        for (const step of this.#steps(stream)) {
          yield create(WorkRequestSchema, { ...step, session: SESSION });
        }
      }
      await this.#news.wait(signal);
    }
  }

  /** Says when leases are to be extended: every third of the shortest, and at least every second. */
  async #beat(stream: Stream, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      stream.beatIsDue = true;
      this.#news.tell();
      const leases = [...this.#held.values()].map((held) => Number(held.lease.durationUs) / 1_000);
      await sleep(Math.min(3_000, this.options.leaseMs ?? 3_000, ...leases) / 3, signal);
    }
  }

  *#steps(stream: Stream): Generator<MessageInitShape<typeof WorkRequestSchema>> {
    if (stream.state === "new") {
      stream.state = "opening";
      const value = { queue: this.options.spec.name };
      yield { id: this.#nextId(), step: { case: "open", value } };
    }
    if (stream.state !== "open") return;
    yield* this.#settle(stream);
    if (stream.beatIsDue) {
      stream.beatIsDue = false;
      yield* this.#extend(stream);
    }
    yield* this.#isStopping ? this.#end(stream) : this.#ask(stream);
  }

  /** A credit for every free slot. It stands until it is used up: nobody polls. */
  *#ask(stream: Stream): Generator<MessageInitShape<typeof WorkRequestSchema>> {
    const { concurrency, leaseMs } = this.options;
    const given = [...stream.credits.values()].reduce((sum, left) => sum + left, 0);
    const limit = concurrency - this.#held.size - given;
    if (limit <= 0) return;
    const id = this.#nextId();
    stream.credits.set(id, limit);
    const lease = leaseMs === undefined ? {} : { leaseUs: BigInt(leaseMs) * 1_000n };
    yield { id, step: { case: "credit", value: { limit, ...lease } } };
  }

  /** Takes the credits back; each is answered once more, perhaps with leases. Closes the session when nothing is
   * held any more. */
  *#end(stream: Stream): Generator<MessageInitShape<typeof WorkRequestSchema>> {
    if (!stream.creditsAreTaken) {
      stream.creditsAreTaken = true;
      for (const credit of [...stream.credits.keys()]) {
        yield { id: this.#nextId(), step: { case: "cancel", value: { credit } } };
      }
    }
    if (stream.credits.size === 0 && this.#held.size === 0) {
      stream.state = "closing";
      yield { id: this.#nextId(), step: { case: "close", value: {} } };
    }
  }

  /** All verdicts that have gathered, in one step. */
  *#settle(stream: Stream): Generator<MessageInitShape<typeof WorkRequestSchema>> {
    const underWay = new Set([...stream.settles.values()].flat());
    const decided = [...this.#held].filter(([token, held]) => held.verdict && !underWay.has(token));
    if (decided.length === 0) return;
    const id = this.#nextId();
    stream.settles.set(id, decided.map(([token]) => token));
    const decisions = decided.map(([, held]) => ({ token: held.lease.token, verdict: verdictOf(held) }));
    yield { id, step: { case: "settle", value: { decisions } } };
  }

  *#extend(stream: Stream): Generator<MessageInitShape<typeof WorkRequestSchema>> {
    const atWork = [...this.#held].filter(([, held]) => !held.verdict);
    if (atWork.length === 0) return;
    const id = this.#nextId();
    stream.extends.set(id, atWork.map(([token]) => token));
    const extensions = atWork.map(([, { lease }]) => ({ token: lease.token, durationUs: lease.durationUs }));
    yield { id, step: { case: "extend", value: { extensions } } };
  }

  #read(stream: Stream, { id, answer }: WorkResponse): void {
    switch (answer.case) {
      case "error":
        // Nothing of the step was carried out, or with `UNAVAILABLE` it is not known: what is held is settled
        // again on the next stream, where that can help.
        throw TidegateError.of(answer.value);
      case "opened":
        stream.state = "open";
        break;
      case "leases":
        this.#take(stream, id, answer.value);
        break;
      case "outcomes": {
        const outcomes = answer.value.outcomes.map((outcome) => Outcome[outcome] ?? "UNSPECIFIED");
        stream.settles.get(id)?.forEach((token, i) => this.#wasSettled(token, outcomes[i] ?? "UNSPECIFIED"));
        stream.extends.get(id)?.forEach((token, i) => this.#wasExtended(token, outcomes[i] ?? "UNSPECIFIED"));
        stream.settles.delete(id);
        stream.extends.delete(id);
        break;
      }
      case "closed":
        stream.state = "closed";
    }
  }

  #take(stream: Stream, id: bigint, { leases, more }: Leases): void {
    if (more) stream.credits.set(id, (stream.credits.get(id) ?? 0) - leases.length);
    else stream.credits.delete(id);
    for (const lease of leases) {
      const held: Held = { lease, work: new AbortController() };
      this.#held.set(key(lease.token), held);
      if (this.#isStopping) held.verdict = { kind: "release" };
      else void this.#handle(held);
    }
  }

  // ---- one task ----

  async #handle(held: Held): Promise<void> {
    const { task } = held.lease;
    let verdict: Verdict;
    try {
      if (!task) throw new Error("the lease has no task");
      verdict = await this.options.handler(task, held.work.signal);
    } catch (error) {
      verdict = { kind: "retry", afterMs: 1_000, note: String(error) };
    }
    // It may have been given back in the meantime.
    held.verdict ??= verdict;
    this.#news.tell();
  }

  #wasSettled(token: string, outcome: string): void {
    const held = this.#held.get(token);
    this.#held.delete(token);
    if (!held?.verdict || !held.lease.task || held.verdict.kind === "release") return;
    if (outcome.startsWith("LOST")) warn(`task ${held.lease.task.sequence} was settled too late: ${outcome}`);
    else this.options.settled(held.lease.task, held.verdict, outcome);
  }

  /** One that is lost somebody else has now, or will have: what is done here must stop. */
  #wasExtended(token: string, outcome: string): void {
    const held = this.#held.get(token);
    if (!held || held.verdict || !outcome.startsWith("LOST")) return;
    warn(`task ${held.lease.task?.sequence} was lost while it was worked on: ${outcome}`);
    this.#held.delete(token);
    held.work.abort();
  }

  #forgetAll(): void {
    for (const held of this.#held.values()) held.work.abort();
    this.#held.clear();
  }

  #nextId(): bigint {
    return ++this.#lastId;
  }
}

function key(token: Uint8Array): string {
  return Buffer.from(token).toString("base64");
}

function verdictOf({ verdict }: Held): MessageInitShape<typeof VerdictSchema> {
  switch (verdict?.kind) {
    case "complete":
      return { kind: { case: "complete", value: {} } };
    case "retry": {
      const value = { afterUs: BigInt(Math.round(verdict.afterMs * 1_000)), error: verdict.note };
      return { kind: { case: "retry", value } };
    }
    default:
      return { kind: { case: "release", value: {} } };
  }
}
