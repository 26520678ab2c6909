/** What requests for uploads hold. */
import { z } from "zod";
import { invalidArgument } from "../../lib/errors.ts";
import type { UploadState } from "./upload.ts";

/** What a client says of an object before it sends it. */
export interface Announced {
  name: string;
  contentType: string;
  size?: number;
  sha256?: string;
}

export type Params = Record<string, unknown>;

const MAX_NAME = 255;
const MEDIA_TYPE = /^[\w!#$&^.+-]{1,127}\/[\w!#$&^.+-]{1,127}(?:[ \t]*;[\x20-\x7e]*)?$/;

const string = z.string("must be text, given once");
const schema = z.object({
  name: string
    .regex(/^[^\p{Cc}]*$/u, "must hold no control character")
    .refine((name) => [...name].length <= MAX_NAME, `must be at most ${MAX_NAME} characters`)
    .default(""),
  content_type: z
    .union([z.literal(""), string.max(255).regex(MEDIA_TYPE)], "must be a media type, such as text/csv")
    .default(""),
  size: z
    .union([z.number(), string.regex(/^\d{1,15}$/).transform(Number)], "must be a whole number of bytes")
    .refine((size) => Number.isSafeInteger(size) && size >= 0, "must be a whole number of bytes")
    .optional(),
  sha256: z
    .union([z.literal(""), string.regex(/^[0-9a-f]{64}$/i)], "must be 64 hexadecimal digits")
    .transform((digest) => digest.toLowerCase() || undefined)
    .optional(),
});

/** Throws where a field is wrong, naming it. */
export function readAnnounced(params: Params, maxBytes: number): Announced {
  const result = schema.safeParse(params);
  const [issue] = result.error?.issues ?? [];
  if (!result.success) throw invalidArgument(String(issue?.path[0] ?? "request"), issue?.message ?? "is not valid");
  const { name, content_type, size, sha256 } = result.data;
  if (size !== undefined && size > maxBytes) throw invalidArgument("size", `must be at most ${maxBytes} bytes`);
  return {
    name,
    contentType: content_type,
    ...(size !== undefined && { size }),
    ...(sha256 !== undefined && { sha256 }),
  };
}

/** An upload in parts must say its size, of which the parts follow. */
export function readAnnouncedParts(params: Params, maxBytes: number): Announced & { size: number } {
  const { size, ...announced } = readAnnounced(params, maxBytes);
  if (!size) throw invalidArgument("size", "must be given, and more than 0: the parts follow from it");
  return { ...announced, size };
}

export function readId({ id }: Params): string {
  if (typeof id !== "string" || id === "") throw invalidArgument("id", "must be given");
  return id;
}

/** The number of one of `count` parts. */
export function readPartNumber(params: Params, count: number): number {
  const number = Number(params["part_number"]);
  if (Number.isInteger(number) && number >= 1 && number <= count) return number;
  throw invalidArgument("part_number", `must be 1 to ${count}`);
}

/** Undefined: all. */
export function readState({ state }: Params): UploadState | undefined {
  if (state === undefined || state === "" || state === "STATE_UNSPECIFIED") return undefined;
  if (state === "ISSUED" || state === "COMPLETED") return state;
  throw invalidArgument("state", "must be ISSUED or COMPLETED");
}
