/** What a task of the bench says of itself in its 200 bytes: which one it is, and when it was created. */
const INPUT_BYTES = 200;
/** The machine's monotonic clock, which all processes share: `performance.now` counts from each process's start. */
const start = Number(process.hrtime.bigint()) / 1e6 - performance.now();

/** Milliseconds on a clock that all processes of this machine share. */
export function now(): number {
  return start + performance.now();
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
