/** google.protobuf.Timestamp as a message, of RFC 3339 text. */
export function timestampOf(text: string): { seconds: number; nanos: number } {
  const ms = Date.parse(text);
  const seconds = Math.floor(ms / 1_000);
  return { seconds, nanos: (ms - seconds * 1_000) * 1_000_000 };
}
