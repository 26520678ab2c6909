import { expect, test } from "@jest/globals";
import { failedPrecondition } from "../../../lib/errors.ts";
import { LineLogger, type LogFormat, type LogLevel } from "../../../lib/logger.ts";

/** Logs one entry and gives the line, or nothing where the level is below what is asked for. */
function line(
  level: LogLevel,
  args: unknown[],
  { least = "info" as LogLevel, format = "json" as LogFormat, mod = "queues" } = {},
) {
  const lines: string[] = [];
  const logger = new LineLogger(least, format, (text) => void lines.push(text));
  logger.getLogHandler({ nodeID: "n1", mod })(level, args);
  return lines.join("");
}

function json(...args: unknown[]): Record<string, unknown> {
  return JSON.parse(line("warn", args)) as Record<string, unknown>;
}

test("a JSON line holds level, node, module, message and fields", () => {
  expect(json("it happened", { channel: "a", ms: 3 })).toMatchObject({
    level: "warn",
    node: "n1",
    module: "queues",
    message: "it happened",
    channel: "a",
    ms: 3,
  });
});

test("an entry is one line, whatever is in it", () => {
  expect(line("warn", ["a\nb", { text: "c\nd" }, new Error("e\nf")]).split("\n")).toHaveLength(2);
});

test("fields do not take the place of what every line has", () => {
  expect(json("x", { level: "fine", node: "other" })).toMatchObject({ level: "warn", node: "n1" });
});

test("a fault shows its stack and its cause, a refusal only its message", () => {
  const fault = json(new Error("outer", { cause: new Error("inner") })) as { error: { stack: string } };
  expect(fault.error.stack).toContain("logger.test.ts");
  expect(fault.error.stack).toContain("inner");
  const refusal = json(failedPrecondition("HTTP_PORT 1 is in use"));
  expect(refusal).toMatchObject({ message: "HTTP_PORT 1 is in use", error: { type: "FAILED_PRECONDITION" } });
  expect(refusal.error).not.toHaveProperty("stack");
});

test.each(["json", "pretty"] as const)("secrets are masked in fields, in URLs and in errors (%s)", (format) => {
  const text = [
    ["connected to nats://me:hunter2@nats:4222"],
    [{ headers: { authorization: "Bearer hunter2" }, password: "hunter2", s3SecretAccessKey: "hunter2" }],
    [new Error("no route to mongodb://me:hunter2@db")],
  ].map((args) => line("warn", args, { format }));
  expect(text.join("")).not.toContain("hunter2");
  expect(text[0]).toContain("nats://***@nats:4222");
});

test("what JSON cannot hold is told another way", () => {
  const circle: Record<string, unknown> = { name: "circle" };
  circle.self = circle;
  expect(json("x", { big: 10n, bytes: Buffer.alloc(5) })).toMatchObject({ big: "10", bytes: "<5 bytes>" });
  expect(json("x", circle)).toMatchObject({ message: "x", name: "circle" });
});

test("a huge value does not flood the log", () => {
  expect(line("warn", ["x".repeat(1_000_000), { y: "y".repeat(1_000_000) }]).length).toBeLessThan(50_000);
});

test("levels below the one asked for are silent, and so are Moleculer's own parts at info", () => {
  expect(line("debug", ["x"])).toBe("");
  expect(line("info", ["x"], { mod: "registry" })).toBe("");
  expect(line("warn", ["x"], { mod: "registry" })).not.toBe("");
  expect(line("debug", ["x"], { mod: "registry", least: "debug" })).not.toBe("");
});

test("the pretty form is for people", () => {
  expect(line("info", ["it happened", { ms: 3 }], { format: "pretty" })).toMatch(
    / INFO {2}queues: it happened \{"ms":3\}\n$/,
  );
});
