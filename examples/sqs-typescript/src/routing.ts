// Which partition a key belongs to. The same key has the same one in every language, and in Tidegate itself.

const UTF8 = new TextEncoder();

/** The partition of a key, from 0: FNV-1a, 32 bits, of its UTF-8, modulo the partitions (1 or more). */
export function partition(key: string, partitions: number): number {
  if (!(partitions >= 1)) throw new RangeError(`${partitions} partitions; at least 1 is needed`);
  return fnv1a32(UTF8.encode(key)) % partitions;
}

/** https://datatracker.ietf.org/doc/html/draft-eastlake-fnv */
export function fnv1a32(data: Uint8Array): number {
  let sum = 0x811c9dc5;
  for (const byte of data) sum = Math.imul(sum ^ byte, 0x01000193);
  return sum >>> 0;
}
