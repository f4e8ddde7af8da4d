// One connection, from its hello to its end, and how one is followed by the next.

import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { createClient, type Client, type Interceptor } from "@connectrpc/connect";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";

import {
  Broker,
  LeaseSupport,
  WelcomeSchema,
  type HelloResponse,
  type QueueSpecSchema,
} from "../gen/tidegate/v1/broker_pb.js";
import { TidegateError, warn } from "./errors.js";
import { sleep } from "./news.js";

const HELLO_MS = 5_000;
export const BACKOFF_MS = 100;
const BACKOFF_MS_MAX = 2_000;
/** Leases come in parts of about 1 MiB, but one payload can be 16 MiB. */
const RESPONSE_BYTES_MAX = 32 << 20;

/** A connection that is up. */
export class Link {
  readonly calls: Client<typeof Broker>;
  #welcome = create(WelcomeSchema);
  #mayBegin = true;
  readonly #connection: Http2SessionManager;
  readonly #life = new AbortController();

  private constructor(address: string, token: string | undefined) {
    const baseUrl = `http://${address}`;
    // A peer that vanished without a word is noticed, though nothing is sent.
    const options = { pingIntervalMs: 20_000, pingTimeoutMs: 10_000 };
    this.#connection = new Http2SessionManager(baseUrl, options);
    const transport = createGrpcTransport({
      baseUrl,
      sessionManager: this.#connection,
      interceptors: token === undefined ? [] : [bearer(token)],
      readMaxBytes: RESPONSE_BYTES_MAX,
    });
    this.calls = createClient(Broker, transport);
  }

  /** Connects once. */
  static async dial(address: string, token: string | undefined): Promise<Link> {
    const link = new Link(address, token);
    const late = setTimeout(() => link.#life.abort(), HELLO_MS);
    try {
      await link.#greet();
    } catch (error) {
      link.close();
      throw TidegateError.ofStatus(error);
    } finally {
      clearTimeout(late);
    }
    return link;
  }

  async #greet(): Promise<void> {
    const hello = this.calls.hello({ client: "typescript example" }, { signal: this.#life.signal });
    const events = hello[Symbol.asyncIterator]();
    const first = await events.next();
    if (first.done || first.value.event.case !== "welcome") {
      throw TidegateError.away("the server is ending");
    }
    this.#welcome = first.value.event.value;
    void this.#watch(events);
  }

  async #watch(events: AsyncIterator<HelloResponse>): Promise<void> {
    try {
      for (let next = await events.next(); !next.done; next = await events.next()) {
        if (next.value.event.case === "draining") this.#mayBegin = false;
      }
    } catch {
      // gone without a word
    }
    this.#mayBegin = false;
  }

  /** Whether calls may still begin: not once the server has said that it ends, or is gone. */
  get mayBegin(): boolean {
    return this.#mayBegin;
  }

  /** Whether a lease goes on when the connection ends, so that it can be settled on the next one. */
  get leasesOutliveIt(): boolean {
    return this.#welcome.capabilities?.lease === LeaseSupport.TIMED;
  }

  /** Creates a queue, or finds it with the same spec. */
  async declare(spec: MessageInitShape<typeof QueueSpecSchema>): Promise<void> {
    try {
      await this.calls.declare({ spec });
    } catch (error) {
      throw TidegateError.ofStatus(error);
    }
  }

  /** Hangs up. What is not answered may have been carried out or not. */
  close(): void {
    this.#life.abort();
    this.#connection.abort();
  }
}

/** Where the server is, and the token that lets in. */
export class Server {
  constructor(
    readonly address: string,
    readonly token?: string,
  ) {}

  /** Connects, and tries again while that can help, until `signal` is aborted. */
  async reach(signal: AbortSignal): Promise<Link> {
    for (let wait = BACKOFF_MS; ; wait = Math.min(wait * 2, BACKOFF_MS_MAX)) {
      try {
        return await Link.dial(this.address, this.token);
      } catch (error) {
        if (!(error instanceof TidegateError) || !error.retryable || signal.aborted) throw error;
        warn(`trying again: ${error.message}`);
        // Full jitter, so that all clients of a server do not come back at once.
        await sleep(Math.random() * wait, signal);
        if (signal.aborted) throw error;
      }
    }
  }
}

function bearer(token: string): Interceptor {
  return (next) => (request) => {
    request.header.set("authorization", `Bearer ${token}`);
    return next(request);
  };
}
