/** What a client asks to be loaded: the checks of a TaskCreate. */
import { refusal } from "../refusal.ts";
import type { TaskMessage } from "../wire.ts";

export interface LoadLimits {
  /** Of a block, in bytes; the last of a file may be smaller. */
  blockMin: number;
  blockMax: number;
  /** Of all files. */
  taskMax: number;
}

const SHA256 = /^[0-9a-f]{64}$/i;
/** Of names and texts, in bytes: a list of tasks is one message. */
const MAX_NAME = 255;
const MAX_TEXT = 1_024;

/** Throws where it is none; the hex digits in lower case. */
export function readSha256(field: string, value: string): string {
  if (!SHA256.test(value)) throw wrong(field, "must be 64 hexadecimal digits");
  return value.toLowerCase();
}

/** The task with what only answers hold left out, and its hexadecimal digits in lower case. */
export function readTask(task: TaskMessage, limits: LoadLimits): TaskMessage {
  const { dataspace_id, appid, task_file_infos: files } = task;
  checkText("task_description", task.task_description, MAX_TEXT);
  checkText("source_path", task.source_path, MAX_TEXT);
  const blockSize = readSize("task_block_size", task.task_block_size);
  const { blockMin, blockMax, taskMax } = limits;
  if (blockSize < blockMin || blockSize > blockMax) {
    throw refusal("TASK_BLOCK_SIZE", `task_block_size: must be ${blockMin} to ${blockMax} bytes`);
  }
  if (files.length === 0) throw wrong("task_file_infos", "is empty");
  const read = new FilesRead(blockSize);
  const task_file_infos = files.map((file, index) => read.file(file, `task_file_infos[${index}]`));
  const size = readSize("task_size", task.task_size);
  if (read.size > taskMax) throw refusal("TASK_TOTAL_SIZE", `task_size: must be at most ${taskMax} bytes`);
  if (size !== read.size) throw wrong("task_size", `is ${size}, its files have ${read.size} bytes`);
  return {
    dataspace_id,
    appid,
    task_sha256: readSha256("task_sha256", task.task_sha256),
    task_description: task.task_description,
    task_file_infos,
    task_block_size: blockSize,
    source_path: task.source_path,
    task_size: size,
  };
}

type FileMessage = TaskMessage["task_file_infos"][number];
type BlockMessage = FileMessage["file_blocks"][number];

/** What must hold between the files of a task. */
class FilesRead {
  readonly #blockSize: number;
  readonly #names = new Set<string>();
  readonly #lengths = new Map<string, number>();
  /** Of those that were read. */
  size = 0;

  constructor(blockSize: number) {
    this.#blockSize = blockSize;
  }

  file({ file_name, file_size, file_blocks }: FileMessage, at: string): FileMessage {
    if (file_name === "") throw wrong(`${at}.file_name`, "is empty");
    checkText(`${at}.file_name`, file_name, MAX_NAME);
    if (this.#names.has(file_name)) throw wrong(`${at}.file_name`, "is another file's as well");
    this.#names.add(file_name);
    if (file_blocks.length === 0) throw wrong(`${at}.file_blocks`, "is empty");
    const last = file_blocks.length - 1;
    const blocks = file_blocks.map((block, index) => this.#block(block, `${at}.file_blocks[${index}]`, index === last));
    const size = readSize(`${at}.file_size`, file_size);
    const sum = blocks.reduce((bytes, block) => bytes + Number(block.block_length), 0);
    if (size !== sum) throw wrong(`${at}.file_size`, `is ${size}, its blocks have ${sum} bytes`);
    this.size += size;
    return { file_name, file_size: size, file_blocks: blocks };
  }

  #block({ block_sha256, block_length }: BlockMessage, at: string, isLast: boolean): BlockMessage {
    const sha256 = readSha256(`${at}.block_sha256`, block_sha256);
    const length = readSize(`${at}.block_length`, block_length);
    if (isLast ? length < 1 || length > this.#blockSize : length !== this.#blockSize) {
      const must = isLast ? `1 to ${this.#blockSize}, task_block_size,` : `${this.#blockSize}, task_block_size`;
      throw refusal("TASK_BLOCK_SIZE", `${at}.block_length: must be ${must}`);
    }
    if ((this.#lengths.get(sha256) ?? length) !== length) {
      throw wrong(`${at}.block_length`, "is not what another block of the same sum has");
    }
    this.#lengths.set(sha256, length);
    return { block_sha256: sha256, block_length: length, uploaded: false };
  }
}

function readSize(field: string, value: { toString(): string }): number {
  const size = Number(String(value));
  if (!Number.isSafeInteger(size)) throw wrong(field, "is too large");
  return size;
}

function checkText(field: string, text: string, most: number): void {
  if (Buffer.byteLength(text) > most) throw wrong(field, `must be at most ${most} bytes`);
}

function wrong(field: string, problem: string) {
  return refusal("DATA_ERROR", `${field}: ${problem}`);
}
