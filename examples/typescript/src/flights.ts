// The work of the example: flights, and what is known of each.

import { readFileSync } from "node:fs";

import type { MessageInitShape } from "@bufbuild/protobuf";

import { Ordering, type NewTaskSchema, type Task } from "./gen/tidegate/v1/broker_pb.js";
import { sleep } from "./tidegate/news.js";
import type { Verdict } from "./tidegate/worker.js";

const KIND = "flight.departed";
const DEDUP_SECONDS = 3_600n;

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

/** The queue of both programs: whoever comes first creates it. Flights of one aircraft stay in order. */
export function queue(name: string) {
  return { name, ordering: Ordering.KEY };
}

/** One task for each line. */
export function read(path: string): MessageInitShape<typeof NewTaskSchema>[] {
  const lines = readFileSync(path, "utf8").split("\n").filter((line) => line !== "");
  return lines.map((line) => {
    const flight = JSON.parse(line) as Flight;
    return {
      kind: KIND,
      payload: Buffer.from(line),
      ...(flight.tailnum === null ? {} : { orderingKey: flight.tailnum }),
      // Sent twice, within the hour, it is still one task.
      dedup: { key: nameOf(flight), unique: { case: "windowUs", value: DEDUP_SECONDS * 1_000_000n } },
    };
  });
}

function nameOf({ year, month, day, carrier, flight, origin }: Flight): string {
  const two = (number: number) => String(number).padStart(2, "0");
  return `${year}-${two(month)}-${two(day)}/${carrier}${flight}/${origin}`;
}

function flightOf(task: Task): Flight {
  return JSON.parse(Buffer.from(task.payload).toString()) as Flight;
}

/** Looks at a flight, for so long. One that has not left yet is looked at once more, a little later. */
export function handler(workMs: number): (task: Task, signal: AbortSignal) => Promise<Verdict> {
  return async (task, signal) => {
    const flight = flightOf(task);
    await sleep(workMs, signal);
    if (flight.dep_time === null && task.attempt === 1) {
      return { kind: "retry", afterMs: 300, note: "it has not left yet" };
    }
    return { kind: "complete", note: fateOf(flight) };
  };
}

function fateOf({ dep_time, arr_delay }: Flight): string {
  if (dep_time === null) return "it never left";
  if (arr_delay === null) return "nobody knows when it arrived";
  return `${arr_delay < 0 ? "" : "+"}${arr_delay} minutes`;
}

/** One line for each verdict that was carried out. */
export function show(task: Task, verdict: Verdict, outcome: string): void {
  const words = [
    nameOf(flightOf(task)),
    `key=${task.orderingKey ?? "-"}`,
    `attempt=${task.attempt}`,
    `outcome=${outcome}: ${verdict.note}`,
  ];
  console.log(words.join(" "));
}
