import { describe, expect, test } from "@jest/globals";
import { inChild } from "../../scripts/bench/export/child.ts";
import type { Peak } from "../../scripts/bench/export/memory.ts";
import type { MemoryTask } from "../../scripts/bench/sql/memory.ts";
import { madeRows } from "../../scripts/bench/sql/servers.ts";
import { describeWith, serverUrl } from "../servers.ts";

const ROWS = 1_000_000;
/** All of these rows, as the cells of a thread, are some 500 MB. */
const MOST_BYTES = 250 * 1_048_576;

describe.each(["mariadb", "postgres"] as const)("what an export of a million rows takes: %s", (server) => {
  describeWith(server, "in a process of its own", () => {
    test("no more memory than some batches", async () => {
      const task: MemoryTask = { dsn: serverUrl(server), statement: madeRows(server, ROWS), rows: ROWS };
      const { peakBytes } = await inChild<Peak>("../sql/memory-process.ts", task);
      expect(peakBytes).toBeLessThan(MOST_BYTES);
    });
  });
});
