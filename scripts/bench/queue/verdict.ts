/** What was measured against what must be reached. */
import { printTable, shown } from "./table.ts";

export interface Figure {
  measure: string;
  value: number;
  gate: { atLeast: number } | { atMost: number };
}

export function printVerdict(figures: Figure[]): void {
  const rows = figures.map(({ measure, value, gate }) => {
    const reached = "atLeast" in gate ? value >= gate.atLeast : value <= gate.atMost;
    const bound = "atLeast" in gate ? `at least ${gate.atLeast}` : `at most ${gate.atMost}`;
    return [measure, shown(value), bound, reached ? "reached" : "MISSED"];
  });
  printTable("Verdict", [["measure", "value", "gate", ""], ...rows]);
}
