/**
 * The end of a turn of the event loop, in stages: requests that came in are gathered, made into groups, and stored. What a stage
 * leads to at once is done before the next one begins, so that a request goes through all of them in one turn, and all
 * that came in together is stored together.
 */
export type Stage = "gather" | "group" | "store";

const STAGES: readonly Stage[] = ["gather", "group", "store"];
const works: Record<Stage, (() => void)[]> = { gather: [], group: [], store: [] };
let scheduled = false;
/** The place of the stage under way, that of the last where none is. */
let current = STAGES.length;

/** Runs `work` in that stage of this turn's end, of the next turn's where it has passed. It must not throw. */
export function atEndOfTurn(stage: Stage, work: () => void): void {
  works[stage].push(work);
  if (scheduled || STAGES.indexOf(stage) > current) return;
  scheduled = true;
  setImmediate(() => {
    scheduled = false;
    run(0);
  });
}

/** Resolves in that stage. */
export function endOfTurn(stage: Stage): Promise<void> {
  return new Promise((resolve) => atEndOfTurn(stage, resolve));
}

function run(place: number): void {
  current = place;
  const stage = STAGES[place];
  if (!stage) return;
  for (const work of works[stage].splice(0)) work();
  // Node empties the queue of microtasks before it looks at that of ticks again.
  queueMicrotask(() => process.nextTick(run, place + 1));
}
