import { failedPrecondition } from "../errors.ts";

export type FileEncoding = "utf8" | "gbk" | "gb18030";

const LABELS: Record<FileEncoding, string> = { utf8: "utf-8", gbk: "gbk", gb18030: "gb18030" };

/**
 * The text of bytes, without a byte order mark; refuses what is not in the encoding. iconv-lite, which our CSV is written
 * with, loses a character where a piece ends within one of GB18030's four bytes.
 */
export async function* fileText(bytes: AsyncIterable<Uint8Array>, encoding: FileEncoding): AsyncGenerator<string> {
  const decoder = new TextDecoder(LABELS[encoding], { fatal: true });
  let before = 0;
  const decode = (piece?: Uint8Array) => {
    try {
      return decoder.decode(piece, { stream: piece !== undefined });
    } catch {
      const name = LABELS[encoding].toUpperCase();
      throw failedPrecondition(`the file is not in ${name}: it has other bytes after the first ${before}`);
    }
  };
  for await (const piece of bytes) {
    const text = decode(piece);
    before += piece.byteLength;
    if (text !== "") yield text;
  }
  const end = decode();
  if (end !== "") yield end;
}
