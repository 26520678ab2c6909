import { execFile } from "node:child_process";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import type { SpawnedNode } from "../node.ts";
import { spawnNode } from "../node.ts";
import { readWorkbook } from "../table-files.ts";
import { withTempDir } from "../temp-dir.ts";

let node: SpawnedNode;

beforeAll(async () => {
  node = await spawnNode();
});

afterAll(async () => {
  await node?.stop();
});

/** The commands of a section of the README as they stand there, but for the port. */
async function commands(section: string): Promise<string> {
  const readme = await readFile(join(import.meta.dirname, "..", "..", "README.md"), "utf8");
  const [, text = ""] = readme.split(`\n## ${section}\n`);
  const [, script = ""] = /```sh\n([^]*?)```/.exec(text) ?? [];
  expect(script).toContain("http://127.0.0.1:3000");
  return script.replaceAll("http://127.0.0.1:3000", node.http);
}

async function run(script: string, cwd: string): Promise<string> {
  const { stdout } = await promisify(execFile)("bash", ["-euo", "pipefail", "-c", script], { cwd, timeout: 25_000 });
  return stdout;
}

test("the README's first export ends with a workbook of 500 rows", async () => {
  const script = await commands("A first export");
  await withTempDir(async (directory) => {
    await run(script, directory);
    const [sheet] = await readWorkbook(join(directory, "people.xlsx"));
    expect(sheet?.rows.length).toBe(501);
    expect(sheet?.rows[0]).toEqual(["编号", "姓名", "年龄"]);
    expect(sheet?.rows.at(-1)).toEqual([499, "Demo 499", 64]);
  });
});

test("the README's filters find that export and that task as operations", async () => {
  const script = await commands("All of it as operations");
  await withTempDir(async (directory) => {
    for (const section of ["A first export", "A first task"]) await run(await commands(section), directory);
    const [exports, tasks] = (await run(script, directory)).trim().split(/(?<=\})(?=\{"operations")/);
    const kindOf = (page: string | undefined) =>
      (JSON.parse(page ?? "") as { operations: { metadata: { kind: string } }[] }).operations[0]?.metadata.kind;
    expect([kindOf(exports), kindOf(tasks)]).toEqual(["export.http", "queues.task"]);
  });
});

test("the README's upload is completed", async () => {
  const script = await commands("Uploads");
  await withTempDir(async (directory) => {
    await writeFile(join(directory, "README.md"), "# Longshore");
    const [put, listed] = (await run(script, directory)).trim().split(/(?<=\})(?=\{"uploads")/);
    const upload = { name: "README.md", state: "COMPLETED", size: "11" };
    expect(JSON.parse(put ?? "")).toMatchObject(upload);
    expect(JSON.parse(listed ?? "")).toMatchObject({ uploads: [upload] });
  });
});

test("the README's data task makes a workbook of 1,000 rows", async () => {
  const script = await commands("Data tasks");
  await withTempDir(async (directory) => {
    await run(script, directory);
    const [sheet] = await readWorkbook(join(directory, "customers.xlsx"));
    expect(sheet?.rows.length).toBe(1_001);
    expect(sheet?.rows[0]).toEqual(["id", "customer"]);
    expect(sheet?.rows.at(-1)).toEqual([1_000, expect.stringMatching(/\w/)]);
  });
});

test("the README's first task ends as SUCCESS", async () => {
  const script = await commands("A first task");
  await withTempDir(async (directory) => {
    const [created, reported, shown] = (await run(script, directory)).trim().split(/(?<=\})(?=\{)/);
    expect(JSON.parse(created ?? "")).toMatchObject({ State: "200", Message: "" });
    expect(JSON.parse(reported ?? "")).toMatchObject({ State: "200", Message: "" });
    expect(JSON.parse(shown ?? "")).toMatchObject({ Data: { State: "SUCCESS", Input: "hello", Output: "sent" } });
  });
});
