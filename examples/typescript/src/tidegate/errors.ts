// What went wrong, and whether trying again helps.

import { Code, ConnectError } from "@connectrpc/connect";

import { ErrorKind, ErrorSchema, type Error as ProtoError } from "../gen/tidegate/v1/broker_pb.js";

/** A failed call. */
export class TidegateError extends Error {
  constructor(
    /** A name of `ErrorKind`, such as `QUEUE_FULL`. */
    readonly kind: string,
    message: string,
    /** Whether the same call can succeed later with nothing changed by the caller. */
    readonly retryable: boolean,
    subject = "",
  ) {
    const about = subject ? `${subject}: ${message}` : message;
    super(`${kind}: ${about} (trying again ${retryable ? "helps" : "does not help"})`);
  }

  /** The error as the protocol tells it. */
  static of(error: ProtoError): TidegateError {
    // One of a newer server has no name here; whether trying again helps is all that can be known of it.
    const kind = ErrorKind[error.kind] ?? (error.retryable ? "UNAVAILABLE" : "UNEXPECTED");
    const message = [error.message, ...error.causes].join(": ");
    return new TidegateError(kind, message, error.retryable, error.subject);
  }

  /** The `Error` among the details of a status, else the best that can be made of its code. */
  static ofStatus(status: unknown): TidegateError {
    if (status instanceof TidegateError) return status;
    const told = ConnectError.from(status);
    const [detail] = told.findDetails(ErrorSchema);
    if (detail) return TidegateError.of(detail);
    const kind = KINDS.get(told.code) ?? "UNEXPECTED";
    return new TidegateError(kind, told.rawMessage, kind === "UNAVAILABLE");
  }

  /** The server is not to be reached now. */
  static away(message: string): TidegateError {
    return new TidegateError("UNAVAILABLE", message, true);
  }
}

/** Failures that carry no `Error` come from the connection, or from the door in front of the broker. */
const KINDS = new Map<Code, string>([
  // What a connection that breaks in the middle leaves; the broker's own come with an Error.
  [Code.Internal, "UNAVAILABLE"],
  [Code.Unknown, "UNAVAILABLE"],
  [Code.Unavailable, "UNAVAILABLE"],
  [Code.Canceled, "UNAVAILABLE"],
  [Code.DeadlineExceeded, "UNAVAILABLE"],
  [Code.Aborted, "UNAVAILABLE"], // the connection was reset
  [Code.Unauthenticated, "DENIED"],
  [Code.PermissionDenied, "DENIED"],
  [Code.Unimplemented, "UNSUPPORTED"],
  [Code.ResourceExhausted, "INVALID"],
  [Code.InvalidArgument, "INVALID"],
]);

/** Says something on stderr. */
export function warn(text: string): void {
  process.stderr.write(`${text}\n`);
}
