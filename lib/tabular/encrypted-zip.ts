import type { ZipEntry, ZipOptions } from "./zip.ts";

/** AES-256, as WinZip has it and 7-Zip and others read it. */
const AES_256 = 3;

/**
 * Writes a zip whose entries can be read only with the password; their names can be seen. The library is well kept, and
 * does in JavaScript what is not in Node: some 100 MB a second.
 */
export async function* writeEncryptedZip(
  entries: AsyncIterable<ZipEntry>,
  password: string,
  { level, modifiedAt }: ZipOptions,
): AsyncGenerator<Uint8Array> {
  const { ZipWriter, configure } = await import("@zip.js/zip.js");
  configure({ useWebWorkers: false });
  let fail: (reason: unknown) => void = () => undefined;
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>({
    start: (controller) => (fail = (reason) => controller.error(reason)),
  });
  const zip = new ZipWriter(writable, { password, encryptionStrength: AES_256, level, lastModDate: modifiedAt });
  const stop = new AbortController();
  const writing = (async () => {
    for await (const { name, content } of entries) await zip.add(name, streamOf(content), { signal: stop.signal });
    await zip.close();
  })();
  // Told to the reader, who may have left.
  writing.catch((error: unknown) => fail(error));
  try {
    yield* readable as AsyncIterable<Uint8Array>;
    await writing;
  } finally {
    stop.abort();
  }
}

function streamOf(content: Uint8Array | AsyncIterable<Uint8Array>): ReadableStream<Uint8Array> {
  return ReadableStream.from(content instanceof Uint8Array ? [content] : content);
}
