/**
 * A table to a file: PostgreSQL to CSV against COPY TO, where the server writes the file itself; MariaDB to CSV against its own
 * program; MariaDB to XLSX against mysql2 and exceljs, which stream too. Each of ours and of Node in a process of its own.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { open, rm } from "node:fs/promises";
import { join } from "node:path";
import { type Run, unprivilegedUser } from "../../servers/run.ts";
import { inChild, type Sample } from "../export/child.ts";
import { median } from "../queue/statistics.ts";
import { printTable, shown } from "../queue/table.ts";
import type { Figure } from "../queue/verdict.ts";
import type { SqlServer, SqlServers } from "./servers.ts";
import { clientCommand, makeTable, sql } from "./servers.ts";

const TABLE = "exported";
const ROWS = 1_000_000;
const ROUNDS = 3;

export interface ExportTask {
  writer: "CSV" | "XLSX" | "exceljs";
  dsn: string;
  table: string;
  rows: number;
  path: string;
}

interface Contest {
  name: string;
  atLeast: number;
  ours: () => Promise<Sample>;
  peer: () => Promise<Pick<Sample, "seconds">>;
}

export async function measureExports(run: Run, servers: SqlServers): Promise<Figure[]> {
  const path = join(run.directory, "exported");
  const serverDirectory = run.makeDirectory("copied", unprivilegedUser());
  const node = (writer: ExportTask["writer"], server: SqlServer) => () =>
    inChild<Sample>("../sql/export-process.ts", {
      writer,
      dsn: servers[server],
      table: TABLE,
      rows: ROWS,
      path,
    } satisfies ExportTask);
  for (const server of ["postgres", "mariadb"] as const) await makeTable(servers, server, TABLE, ROWS);
  const contests: Contest[] = [
    {
      name: "PostgreSQL to CSV / COPY TO",
      atLeast: 0.25,
      ours: node("CSV", "postgres"),
      peer: () =>
        seconds(() =>
          sql(servers, "postgres", `COPY ${TABLE} TO '${join(serverDirectory, "copied")}' (FORMAT csv, HEADER)`),
        ),
    },
    {
      name: "MariaDB to CSV / mariadb --batch --quick",
      atLeast: 0.33,
      ours: node("CSV", "mariadb"),
      peer: () => seconds(() => clientToFile(clientCommand(servers, "mariadb", `SELECT * FROM ${TABLE}`), path)),
    },
    {
      name: "MariaDB to XLSX level 1 / mysql2 and exceljs",
      atLeast: 5,
      ours: node("XLSX", "mariadb"),
      peer: node("exceljs", "mariadb"),
    },
  ];
  const lines: string[][] = [];
  const figures: Figure[] = [];
  for (const contest of contests) {
    const pairs = await pairsOf(contest);
    await rm(path, { force: true });
    const ratios = pairs.map(({ ours, peer }) => peer / ours);
    lines.push([
      contest.name,
      ...(["ours", "peer"] as const).map((who) => shown(median(pairs.map((pair) => pair[who])))),
    ]);
    figures.push({ measure: `${contest.name}, speed`, value: median(ratios), gate: { atLeast: contest.atLeast } });
  }
  printTable(`${ROWS.toLocaleString("en")} rows of ten columns to a file, seconds, medians of ${ROUNDS} rounds`, [
    ["", "ours", "peer"],
    ...lines,
  ]);
  return figures;
}

async function pairsOf({ name, ours, peer }: Contest): Promise<{ ours: number; peer: number }[]> {
  const pairs = [];
  // The first round is for the caches: of pages, and of what Node compiles.
  for (let round = 0; round <= ROUNDS; round += 1) {
    // exceljs takes a minute, and by then all caches are warm.
    if (round === 0 && name.includes("exceljs")) continue;
    const pair = { ours: (await ours()).seconds, peer: (await peer()).seconds };
    if (round === 0) continue;
    pairs.push(pair);
    console.error(`round ${round}, ${name}: ${shown(pair.ours)} s, peer ${shown(pair.peer)} s`);
  }
  return pairs;
}

export async function seconds(work: () => Promise<unknown>): Promise<{ seconds: number }> {
  const began = performance.now();
  await work();
  return { seconds: (performance.now() - began) / 1_000 };
}

/** Without this process between the program and the file. */
async function clientToFile([program, ...args]: [string, ...string[]], path: string): Promise<void> {
  const file = await open(path, "w");
  try {
    const child = spawn(program, args, { stdio: ["ignore", file.fd, "inherit"] });
    const [code] = (await once(child, "exit")) as [number | null];
    if (code !== 0) throw new Error(`${program} ended with ${code}`);
  } finally {
    await file.close();
  }
}
