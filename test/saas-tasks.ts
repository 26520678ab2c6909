/** Bulk loads for tests: files cut into blocks, and what clients do with them. */
import { randomBytes } from "node:crypto";
import type { Answer, SaasClient, TaskMessage } from "./saas-client.ts";
import { demandDone, sha256Of } from "./saas-client.ts";
import { waitFor } from "./wait-for.ts";

export interface TestTask {
  /** As a TaskCreate has it. */
  task: {
    dataspace_id: string;
    appid: string;
    task_sha256: string;
    task_description: string;
    task_file_infos: {
      file_name: string;
      file_size: number;
      file_blocks: { block_sha256: string; block_length: number }[];
    }[];
    task_block_size: number;
    task_size: number;
  };
  /** Each once. */
  blocks: Buffer[];
}

/** A task of files by their names, cut at `blockSize`. */
export function taskOf(space: string, files: Record<string, string | Buffer>, blockSize: number): TestTask {
  const blocks = new Map<string, Buffer>();
  const task_file_infos = Object.entries(files).map(([file_name, text]) => {
    const content = Buffer.from(text);
    const count = Math.ceil(content.length / blockSize);
    const file_blocks = Array.from({ length: count }, (_, index) => {
      const block = content.subarray(index * blockSize, (index + 1) * blockSize);
      const block_sha256 = sha256Of(block);
      blocks.set(block_sha256, block);
      return { block_sha256, block_length: block.length };
    });
    return { file_name, file_size: content.length, file_blocks };
  });
  const task = {
    dataspace_id: space,
    appid: "",
    task_sha256: randomBytes(32).toString("hex"),
    task_description: "a test",
    task_file_infos,
    task_block_size: blockSize,
    task_size: task_file_infos.reduce((sum, { file_size }) => sum + file_size, 0),
  };
  return { task, blocks: [...blocks.values()] };
}

/** Of items in protobuf JSON, one a line. */
export function linesOf(items: readonly object[]): string {
  return items.map((item) => `${JSON.stringify(item)}\n`).join("");
}

/** Sets one byte column. */
export function byteItem(userid: string, value: number, column = 0): object {
  return {
    userid,
    writeBytes: { bytes: Buffer.from([value]).toString("base64"), index1: String(1n << BigInt(column)) },
  };
}

export async function createAndUpload(client: SaasClient, { task, blocks }: TestTask): Promise<void> {
  demandDone(await client.post("/saas/task/create", { task_create: task }));
  for (const block of blocks) demandDone(await client.upload(block));
}

export function info(client: SaasClient, task_sha256: string): Promise<Answer> {
  return client.post("/saas/task/info", { task_info: { task_sha256 } });
}

export async function statusOf(client: SaasClient, task_sha256: string): Promise<string> {
  return demandDone(await info(client, task_sha256)).task_info_res!.status;
}

/** The task once it has ended, with what is told of its end. */
export function ended(client: SaasClient, sha256: string): Promise<TaskMessage & { reason: string }> {
  return waitFor(async () => {
    const answer = demandDone(await info(client, sha256));
    const task = answer.task_info_res!;
    return ["SUCCESS", "FAIL"].includes(task.status) ? { ...task, reason: answer.status } : undefined;
  });
}

/** From its creation to its end. */
export async function load(client: SaasClient, task: TestTask): Promise<TaskMessage & { reason: string }> {
  await createAndUpload(client, task);
  const { task_sha256 } = task.task;
  demandDone(await client.post("/saas/task/run", { task_run: { task_sha256 } }));
  return ended(client, task_sha256);
}
