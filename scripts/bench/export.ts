/** How fast the writers of tables are, as ratios to exceljs and csv-stringify in the same run on the same machine. */
import { once } from "node:events";
import { createWriteStream } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { stringify } from "csv-stringify";
import ExcelJS from "exceljs";
import type { ExtType } from "../../lib/tabular/ext-type.ts";
import { RowCursor } from "../../lib/tabular/row-cursor.ts";
import type { Cell, Row } from "../../lib/tabular/table.ts";
import { writeTable } from "../../lib/tabular/write-table.ts";

const ROWS = 200_000;
const ROUNDS = 3;
const COLUMNS = Array.from({ length: 10 }, (_, index) => ({ key: `c${index}`, title: `Column ${index}` }));

/** A measure of one writer. */
interface Sample {
  seconds: number;
  cpuSeconds: number;
}

/** A ratio to a peer, and the least that it may be. */
export interface ExportRatio {
  name: string;
  ratio: number;
  gate: number;
  met: boolean;
}

function rowOf(index: number): Cell[] {
  return [
    index,
    `用户名称${index % 9973}`,
    `user${index}@example.com`,
    index * 1.25,
    index % 2 === 0,
    `2026-11-${10 + (index % 20)} 10:00:00`,
    `order-${(index * 7919) % 1_000_003}`,
    index % 7,
    null,
    `some text, with a comma ${index % 100}`,
  ];
}

/** Made once, and read over and over: what rows cost to make and to keep says nothing of their writers. */
const BATCHES = Array.from({ length: 20 }, (_, batch) =>
  Array.from({ length: 1000 }, (_, index) => rowOf(batch * 1000 + index)),
);

function* table(): Generator<Row[]> {
  for (let batch = 0; batch < ROWS / 1000; batch++) yield BATCHES[batch % BATCHES.length]!;
}

async function* batches(): AsyncGenerator<readonly Row[]> {
  yield* table();
}

async function ours(path: string, extType: ExtType, level: number): Promise<void> {
  const options = {
    extType,
    title: "bench",
    createdAt: new Date(),
    level,
    formulaGuard: true,
    longText: "fail",
  } as const;
  const losses = { unmappable: 0, truncated: 0 };
  const bytes = writeTable(COLUMNS, new RowCursor(batches()), Infinity, options, losses);
  await pipeline(bytes, createWriteStream(path));
}

async function exceljs(path: string): Promise<void> {
  const book = new ExcelJS.stream.xlsx.WorkbookWriter({ filename: path, useSharedStrings: false, useStyles: true });
  const sheet = book.addWorksheet("Sheet1");
  sheet.addRow(COLUMNS.map((column) => column.title)).commit();
  for (const rows of table()) for (const row of rows) sheet.addRow(row).commit();
  sheet.commit();
  await book.commit();
}

async function csvStringify(path: string): Promise<void> {
  // The same work as ours: formulas are neutralised, lines end as RFC 4180 has it.
  const options = { header: true, escape_formulas: true, record_delimiter: "windows" } as const;
  const csv = stringify({ ...options, columns: COLUMNS.map((column) => column.title) });
  const writing = pipeline(csv, createWriteStream(path));
  for (const rows of table()) {
    for (const row of rows) if (!csv.write(row)) await once(csv, "drain");
  }
  csv.end();
  await writing;
}

const WRITERS = {
  "xlsx level 1": (path: string) => ours(path, "XLSX", 1),
  "xlsx level 6": (path: string) => ours(path, "XLSX", 6),
  exceljs,
  csv: (path: string) => ours(path, "CSV", 1),
  "csv-stringify": csvStringify,
};

type Writer = keyof typeof WRITERS;

async function measure(write: (path: string) => Promise<void>, path: string): Promise<Sample> {
  const started = performance.now();
  const cpu = process.cpuUsage();
  await write(path);
  const { user, system } = process.cpuUsage(cpu);
  return { seconds: (performance.now() - started) / 1000, cpuSeconds: (user + system) / 1e6 };
}

/** Interleaved rounds, so that a machine that slows down slows all alike; the median of each. */
async function measureAll(directory: string): Promise<Record<Writer, Sample>> {
  const names = Object.keys(WRITERS) as Writer[];
  const samples = new Map<Writer, Sample[]>(names.map((name) => [name, []]));
  for (let round = 0; round < ROUNDS; round++) {
    for (const name of names) samples.get(name)!.push(await measure(WRITERS[name], join(directory, "out")));
  }
  const median = (name: Writer) => samples.get(name)!.sort((a, b) => a.seconds - b.seconds)[ROUNDS >> 1]!;
  return Object.fromEntries(names.map((name) => [name, median(name)])) as Record<Writer, Sample>;
}

/** Measures, prints a table, and answers the ratios that are promised. */
export async function run(): Promise<ExportRatio[]> {
  const directory = await mkdtemp(join(tmpdir(), "longshore-bench-"));
  try {
    const medians = await measureAll(directory);
    console.log(`export: ${ROWS} rows x ${COLUMNS.length}, median of ${ROUNDS}`);
    for (const [name, { seconds, cpuSeconds }] of Object.entries(medians)) {
      console.log(`  ${name.padEnd(14)} ${seconds.toFixed(2)} s  ${cpuSeconds.toFixed(2)} CPU s`);
    }
    const ratios = [
      judge("xlsx level 1 / exceljs", medians.exceljs.seconds / medians["xlsx level 1"].seconds, 7),
      judge("xlsx level 6 / exceljs", medians.exceljs.seconds / medians["xlsx level 6"].seconds, 4.5),
      judge("csv / csv-stringify (CPU)", medians["csv-stringify"].cpuSeconds / medians.csv.cpuSeconds, 3.5),
    ];
    for (const { name, ratio, gate, met } of ratios) {
      console.log(`  ${name.padEnd(26)} ${ratio.toFixed(1)} x  (at least ${gate}) ${met ? "ok" : "MISSED"}`);
    }
    return ratios;
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

function judge(name: string, ratio: number, gate: number): ExportRatio {
  return { name, ratio, gate, met: ratio >= gate };
}
