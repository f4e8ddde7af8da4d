// The work of the example: flights, and what is known of each.

import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

import type { Message } from "@aws-sdk/client-sqs";

import type { Outgoing } from "./sender.js";
import { attemptOf, type Verdict } from "./worker.js";

/** What a worker of Tidegate calls the task's kind. */
const KIND = "flight.departed";

interface Flight {
  year: number;
  month: number;
  day: number;
  carrier: string;
  flight: number;
  origin: string;
  tailnum: string | null;
  dep_time: number | null;
  arr_delay: number | null;
}

/** One message for each line. Flights of one aircraft stay in order. */
export function read(path: string): Outgoing[] {
  const lines = readFileSync(path, "utf8").split("\n").filter((line) => line !== "");
  return lines.map((line) => {
    const flight = JSON.parse(line) as Flight;
    return {
      MessageBody: line,
      MessageGroupId: flight.tailnum ?? nameOf(flight),
      // Sent twice, within five minutes, it is still one message.
      MessageDeduplicationId: nameOf(flight),
      MessageAttributes: { type: { DataType: "String", StringValue: KIND } },
    };
  });
}

function nameOf({ year, month, day, carrier, flight, origin }: Flight): string {
  const two = (number: number) => String(number).padStart(2, "0");
  return `${year}-${two(month)}-${two(day)}/${carrier}${flight}/${origin}`;
}

function flightOf(message: Message): Flight {
  return JSON.parse(message.Body as string) as Flight;
}

/** Looks at a flight, for so long. One that has not left yet is looked at once more, a little later. */
export function handler(workMs: number): (message: Message, stop: AbortSignal) => Promise<Verdict> {
  return async (message, stop) => {
    const flight = flightOf(message);
    if (workMs > 0) await sleep(workMs, undefined, { signal: stop });
    if (flight.dep_time === null && attemptOf(message) === 1) return { kind: "retry", note: "it has not left yet" };
    return { kind: "done", note: fateOf(flight) };
  };
}

function fateOf({ dep_time, arr_delay }: Flight): string {
  if (dep_time === null) return "it never left";
  if (arr_delay === null) return "nobody knows when it arrived";
  return `${arr_delay < 0 ? "" : "+"}${arr_delay} minutes`;
}

/** One line for each verdict that was carried out. */
export function show(message: Message, { kind, note }: Verdict): void {
  const flight = flightOf(message);
  const outcome = kind === "done" ? "DONE" : "SCHEDULED";
  const words = [nameOf(flight), `key=${flight.tailnum ?? "-"}`, `attempt=${attemptOf(message)}`];
  console.log(`${words.join(" ")} outcome=${outcome}: ${note}`);
}
