import { z } from "zod";
import { invalidArgument } from "../errors.ts";
import { PatternError, readPattern } from "./pattern.ts";
import { LOCALES, REALISTIC_KINDS } from "./realistic.ts";

export const MAX_GENERATED_ROWS = 100_000_000;
const MAX_COLUMNS = 1_000;
const MAX_VALUES = 10_000;
const MAX_TEXT = 1_000;
/** The squares of the network that makes them unique must be exact. */
const MAX_UNIQUE = 2 ** 52;
/** Units of a decimal are counted as whole numbers. */
const MAX_SCALE = 9;

const whole = z.int("must be a whole number");
const string = z.string("must be a string").max(MAX_TEXT, `must be at most ${MAX_TEXT} characters`);
const number = z.number("must be a number");
const scalar = z.union([string, number, z.boolean(), z.null()], "must be a string, a number, a boolean or null");

const shared = {
  name: string.min(1, "must not be empty"),
  /** How often a row has none, of 1. */
  null_ratio: number.min(0, "must be 0 to 1").max(1, "must be 0 to 1").default(0),
};

const sequence = z.strictObject({
  ...shared,
  kind: z.literal("sequence"),
  start: whole.default(1),
  step: whole.refine((step) => step !== 0, "must not be 0").default(1),
});

const integer = z
  .strictObject({
    ...shared,
    kind: z.literal("integer"),
    min: whole.default(0),
    max: whole.default(1_000_000),
    /** No number twice; there must be as many as rows. */
    unique: z.boolean("must be true or false").default(false),
  })
  .superRefine(inOrder)
  .superRefine(({ min, max }, ctx) => {
    if (!Number.isSafeInteger(max - min))
      ctx.addIssue({ code: "custom", path: ["max"], message: "is too far from min" });
  });

const decimal = z
  .strictObject({
    ...shared,
    kind: z.literal("decimal"),
    min: number.default(0),
    max: number.default(1_000),
    /** Digits after the point. */
    scale: whole.min(0, `must be 0 to ${MAX_SCALE}`).max(MAX_SCALE, `must be 0 to ${MAX_SCALE}`).default(2),
  })
  .superRefine(inOrder)
  .superRefine(({ min, max, scale }, ctx) => {
    for (const [path, end] of [["min", min] as const, ["max", max] as const]) {
      const units = end * 10 ** scale;
      // With 2^52 on either side there is room between them.
      if (Math.abs(units) > 2 ** 52) ctx.addIssue({ code: "custom", path: [path], message: "has too many digits" });
      else if (Number(end.toFixed(scale)) !== end) {
        ctx.addIssue({ code: "custom", path: [path], message: `has more than ${scale} digits after the point` });
      }
    }
  });

const boolean = z.strictObject({
  ...shared,
  kind: z.literal("boolean"),
  /** Of true. */
  probability: number.min(0, "must be 0 to 1").max(1, "must be 0 to 1").default(0.5),
});

const uuid = z.strictObject({ ...shared, kind: z.literal("uuid") });

const weight = number.min(0, "must be 0 or more").max(1e9, "must be at most 1000000000");

const choice = z
  .strictObject({
    ...shared,
    kind: z.literal("enum"),
    values: z
      .array(scalar, "must be an array of values")
      .min(1, "must not be empty")
      .max(MAX_VALUES, `must be at most ${MAX_VALUES} values`),
    /** Of each value; all the same where absent. */
    weights: z.array(weight, "must be an array of numbers").optional(),
  })
  .superRefine(({ values, weights }, ctx) => {
    if (!weights) return;
    const message =
      weights.length !== values.length
        ? `must be as many as values (${values.length})`
        : !weights.some((each) => each > 0) && "must not all be 0";
    if (message) ctx.addIssue({ code: "custom", path: ["weights"], message });
  });

const pattern = z.strictObject({
  ...shared,
  kind: z.literal("pattern"),
  pattern: string.superRefine((text, ctx) => {
    try {
      readPattern(text);
    } catch (error) {
      if (!(error instanceof PatternError)) throw error;
      ctx.addIssue({ code: "custom", message: error.message });
    }
  }),
});

const day = z.iso.date("must be a date such as 2026-11-26");
const time = z.iso.datetime({ offset: false, precision: 0, error: "must be a time such as 2026-11-26T10:00:00Z" });

const date = z
  .strictObject({ ...shared, kind: z.literal("date"), min: day.default("2000-01-01"), max: day.default("2029-12-31") })
  .superRefine(inOrder);

const datetime = z
  .strictObject({
    ...shared,
    kind: z.literal("datetime"),
    min: time.default("2000-01-01T00:00:00Z"),
    max: time.default("2029-12-31T23:59:59Z"),
  })
  .superRefine(inOrder);

const constant = z.strictObject({ ...shared, kind: z.literal("constant"), value: scalar });

const realistic = z.strictObject({
  ...shared,
  kind: z.enum(REALISTIC_KINDS),
  locale: z.enum(LOCALES, `must be one of ${LOCALES.join(", ")}`).default("en"),
});

const KINDS = ["sequence", "integer", "decimal", "boolean", "uuid", "enum", "pattern", "date", "datetime", "constant"];

const column = z.discriminatedUnion(
  "kind",
  [sequence, integer, decimal, boolean, uuid, choice, pattern, date, datetime, constant, realistic],
  {
    error: ({ code }) =>
      code === "invalid_union" ? `must be one of ${[...KINDS, ...REALISTIC_KINDS].join(", ")}` : "must be an object",
  },
);

const spec = z
  .strictObject(
    {
      rows: whole.min(0, "must be 0 or more").max(MAX_GENERATED_ROWS, `must be at most ${MAX_GENERATED_ROWS}`),
      /** The same seed and specification make the same rows. */
      seed: whole.min(0, "must be 0 or more").default(0),
      columns: z
        .array(column, "must be an array of columns")
        .min(1, "must not be empty")
        .max(MAX_COLUMNS, `must be at most ${MAX_COLUMNS} columns`),
    },
    { error: ({ code }) => (code === "invalid_type" ? "must be an object" : undefined) },
  )
  .superRefine(({ rows, columns }, ctx) => {
    const known = new Set<string>();
    for (const [index, each] of columns.entries()) {
      const refuse = (field: string, message: string) =>
        ctx.addIssue({ code: "custom", path: ["columns", index, field], message });
      if (known.has(each.name)) refuse("name", `is there twice: ${JSON.stringify(each.name.slice(0, 100))}`);
      known.add(each.name);
      if (each.kind === "integer" && each.unique && each.max - each.min + 1 < rows) {
        refuse("unique", `needs ${rows} numbers, and there are ${each.max - each.min + 1}`);
      }
      if (each.kind === "integer" && each.unique && each.max - each.min >= MAX_UNIQUE) {
        refuse("unique", `needs a range of at most ${MAX_UNIQUE} numbers`);
      }
      if (each.kind === "sequence" && !Number.isSafeInteger(each.start + each.step * rows)) {
        refuse("step", "leads beyond the numbers that are exact");
      }
    }
  });

/** What rows are made. */
export type GenerateSpec = z.infer<typeof spec>;
export type GenerateColumn = GenerateSpec["columns"][number];

/** Throws INVALID_ARGUMENT that names what is wrong, such as `<field>.columns[2].max`. */
export function readGenerateSpec(value: unknown, field: string): GenerateSpec {
  const result = spec.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0]!;
  const unknown = issue.code === "unrecognized_keys" ? issue.keys[0] : undefined;
  const path = [...issue.path, ...(unknown === undefined ? [] : [unknown.slice(0, 100)])];
  const names = path.map((part) => (typeof part === "number" ? `[${part}]` : `.${String(part)}`)).join("");
  throw invalidArgument(
    field === "" ? names.replace(/^\./, "") || "spec" : field + names,
    unknown === undefined ? issue.message : "is not known here",
  );
}

/** Numbers, or texts of dates, which have the order of what they say. */
function inOrder<T extends number | string>({ min, max }: { min: T; max: T }, ctx: z.RefinementCtx): void {
  if (min > max) ctx.addIssue({ code: "custom", path: ["max"], message: "must not be less than min" });
}
