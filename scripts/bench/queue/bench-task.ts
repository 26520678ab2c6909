/** What a task of the bench says of itself in its 200 bytes: which one it is, and when it was created. */
const INPUT_BYTES = 200;

/** Milliseconds on the machine's monotonic clock, which all processes share: `performance.now` counts from each one's start. */
export function now(): number {
  const [seconds, nanoseconds] = process.hrtime();
  return seconds * 1_000 + nanoseconds / 1e6;
}

/** The input of task `number`, to be created now. */
export function writeInput(number: number): string {
  return `${number} ${now()} `.padEnd(INPUT_BYTES, "x");
}

/** Which task it is, and when it was created. */
export function readInput(input: string): { number: number; createdAt: number } {
  const [number, createdAt] = input.split(" ", 2);
  return { number: Number(number), createdAt: Number(createdAt) };
}
