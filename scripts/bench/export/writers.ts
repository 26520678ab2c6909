/**
 * The writers of tables alone, each against the one that others would take: XLSX against exceljs, which streams too, and against
 * libxlsxwriter, which shows what the same work takes in C; CSV against csv-stringify. The same rows, made before; a file on disk;
 * each in a process of its own. Of CSV the CPU time counts: it is so quick that the disk has a part in the rest.
 */
import { rm, stat } from "node:fs/promises";
import { join } from "node:path";
import type { Run } from "../../servers/run.ts";
import { median } from "../queue/statistics.ts";
import { printTable, shown } from "../queue/table.ts";
import type { Figure } from "../queue/verdict.ts";
import { inChild, type Sample } from "./child.ts";
import { buildLibxlsxwriter, runLibxlsxwriter } from "./libxlsxwriter.ts";
import { COLUMNS } from "./rows.ts";

const ROWS = 1_000_000;
const ROUNDS = 3;
/** In this order, so that each is next to what it is compared with. */
const WRITERS = ["XLSX level 6", "exceljs", "XLSX level 1", "libxlsxwriter", "CSV", "csv-stringify"] as const;
const MEGABYTE = 1_048_576;

type Writer = (typeof WRITERS)[number];
/** Those of writer-process.ts. */
export type NodeWriter = Exclude<Writer, "libxlsxwriter">;

export interface WriterTask {
  writer: NodeWriter;
  rows: number;
  path: string;
}

interface WriterSample extends Sample {
  bytes: number;
}

export async function measureWriters(run: Run): Promise<Figure[]> {
  const program = await buildLibxlsxwriter(run.directory);
  const samples = Object.fromEntries(WRITERS.map((writer) => [writer, [] as WriterSample[]])) as Samples;
  const path = join(run.directory, "table");
  // Not one of them has to have its types stripped: with that tool in its process, exceljs as a rule takes twice as long.
  await sampleOf("CSV", { program, path, rows: 1 });
  for (let round = 1; round <= ROUNDS; round += 1) {
    for (const writer of WRITERS) {
      const sample = await sampleOf(writer, { program, path, rows: ROWS });
      samples[writer].push(sample);
      console.error(`round ${round}, ${writer}: ${shown(sample.seconds)} s, ${shown(sample.cpuSeconds)} CPU s`);
    }
  }
  printTable(`${ROWS.toLocaleString("en")} rows x ${COLUMNS.length}, medians of ${ROUNDS} rounds`, [
    ["", "s", "CPU s", "MB"],
    ...WRITERS.map((writer) => [
      writer,
      ...(["seconds", "cpuSeconds"] as const).map((measure) =>
        shown(median(samples[writer].map((one) => one[measure]))),
      ),
      shown(samples[writer][0]!.bytes / MEGABYTE),
    ]),
  ]);
  return figuresOf(samples);
}

async function sampleOf(
  writer: Writer,
  { program, path, rows }: { program: string; path: string; rows: number },
): Promise<WriterSample> {
  try {
    const sample =
      writer === "libxlsxwriter"
        ? await runLibxlsxwriter(program, rows, path)
        : await inChild<Sample>("writer-process.ts", { writer, rows, path } satisfies WriterTask);
    return { ...sample, bytes: (await stat(path)).size };
  } finally {
    await rm(path, { force: true });
  }
}

type Samples = Record<Writer, WriterSample[]>;

/** How many times as long the peer takes: of rounds, each to its neighbour in time, and the median of those. */
function figuresOf(samples: Samples): Figure[] {
  const compare = (ours: Writer, peer: Writer, measure: keyof Sample, atLeast: number): Figure => {
    const ratios = samples[ours].map((sample, round) => samples[peer][round]![measure] / sample[measure]);
    const of = measure === "seconds" ? "speed" : "speed by CPU time";
    return { measure: `${ours} / ${peer}, ${of}`, value: median(ratios), gate: { atLeast } };
  };
  return [
    compare("XLSX level 1", "exceljs", "seconds", 7),
    compare("XLSX level 6", "exceljs", "seconds", 4.5),
    compare("XLSX level 1", "libxlsxwriter", "seconds", 2.5),
    compare("CSV", "csv-stringify", "cpuSeconds", 3.5),
  ];
}
