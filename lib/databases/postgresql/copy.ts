import type { Connection, Submittable } from "pg";
import type { Cell, Row } from "../../tabular/table.ts";
import { objectText } from "../../tabular/table.ts";
import type { Session } from "./session.ts";

/** What of the driver's connection COPY needs; its types leave it out. */
interface CopyConnection {
  sendCopyFromChunk(chunk: Buffer): void;
  endCopyFrom(): void;
}

/** Runs a `COPY … FROM STDIN` with its data; rejects with the driver's error. */
export function copyIn({ client, link }: Session, statement: string, data: Buffer): Promise<void> {
  return link.wait(() => new Promise((resolve, reject) => client.query(new CopyIn(statement, data, resolve, reject))));
}

/** The driver's side of it: what the client calls on a query. */
class CopyIn implements Submittable {
  readonly #statement: string;
  readonly #data: Buffer;
  readonly handleReadyForQuery: () => void;
  readonly handleError: (error: Error) => void;

  constructor(statement: string, data: Buffer, resolve: () => void, reject: (error: Error) => void) {
    this.#statement = statement;
    this.#data = data;
    this.handleReadyForQuery = resolve;
    this.handleError = reject;
  }

  submit(connection: Connection): void {
    connection.query(this.#statement);
  }

  handleCopyInResponse(connection: CopyConnection): void {
    connection.sendCopyFromChunk(this.#data);
    connection.endCopyFrom();
  }

  handleCommandComplete(): void {}
}

/** Rows in the text format of COPY: https://www.postgresql.org/docs/current/sql-copy.html#id-1.9.3.55.9.2 */
export function copyText(rows: readonly Row[], columns: number): Buffer {
  let text = "";
  for (const row of rows) {
    for (let column = 0; column < columns; column++) {
      if (column > 0) text += "\t";
      text += cellText(row[column]);
    }
    text += "\n";
  }
  return Buffer.from(text);
}

const SPECIAL = /[\\\t\n\r]/;
const ESCAPES: Readonly<Record<string, string>> = { "\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r" };

function cellText(cell: Cell): string {
  if (cell === null || cell === undefined) return "\\N";
  if (typeof cell === "number" || typeof cell === "bigint") return String(cell);
  if (typeof cell === "boolean") return cell ? "t" : "f";
  const text = typeof cell === "string" ? cell : objectText(cell);
  return SPECIAL.test(text) ? text.replace(/[\\\t\n\r]/g, (character) => ESCAPES[character]!) : text;
}
