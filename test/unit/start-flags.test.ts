import { readFile } from "node:fs/promises";
import { join, relative } from "node:path";
import { expect, test } from "@jest/globals";
import { NODE_FLAGS, START } from "../../scripts/node-flags.ts";

const root = join(import.meta.dirname, "..", "..");

test("npm start and the image run Node as the tests do", async () => {
  const words = [...NODE_FLAGS, START].map((word) => (word.startsWith(root) ? relative(root, word) : word));
  const flags = words.map((word) => (word.endsWith("compile-cache.js") ? `./${word}` : word));
  const { scripts } = JSON.parse(await readFile(join(root, "package.json"), "utf8")) as {
    scripts: Record<string, string>;
  };
  expect(scripts.start).toBe(`node ${flags.join(" ")}`);
  const dockerfile = await readFile(join(root, "Dockerfile"), "utf8");
  expect(dockerfile).toContain(`CMD ${JSON.stringify(["node", ...flags]).replaceAll(",", ", ")}`);
});
