/** What most file systems allow a name, extension and all, in bytes of UTF-8. */
const MAX_BYTES = 200;

/** Names that Windows gives to devices, with any extension. */
const RESERVED = /^(?:con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(?=\.|$)/i;

/** What no name may hold: control characters, marks that turn the direction and so hide the extension, what Windows refuses. */
const REFUSED =
  /[\u0000-\u001f\u007f-\u009f\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\p{Cs}\ufffe\uffff/\\:*?"<>|]+/gu;

/** A name for a file from a title that a stranger wrote: one name, of no path, good on every system; never empty. */
export function fileName(title: string, extension: string, number?: number): string {
  const suffix = `${number === undefined ? "" : `-${number}`}.${extension}`;
  let stem = title.normalize("NFC").replace(REFUSED, "_").trim();
  // A leading dot hides a file on Unix, Windows drops a trailing one.
  stem = stem.replace(/^[. ]+/, "");
  stem = cutToBytes(stem, MAX_BYTES - Buffer.byteLength(suffix)).replace(/[. ]+$/, "");
  if (/^_*$/.test(stem)) stem = "export";
  if (RESERVED.test(stem)) stem = `_${stem}`;
  return stem + suffix;
}

/** Cuts between characters as people see them: half an emoji is not a name. */
function cutToBytes(text: string, maxBytes: number): string {
  if (Buffer.byteLength(text) <= maxBytes) return text;
  let cut = "";
  let bytes = 0;
  for (const { segment } of new Intl.Segmenter().segment(text.slice(0, maxBytes))) {
    bytes += Buffer.byteLength(segment);
    if (bytes > maxBytes) break;
    cut += segment;
  }
  return cut;
}
