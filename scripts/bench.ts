/** `npm run bench -- NAME [PART …]`: measures against a peer in the same run and prints ratios. Without a name it lists what there is. */
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const folder = join(import.meta.dirname, "bench");
const [wanted, ...parts] = process.argv.slice(2);
const names = (await readdir(folder)).filter((file) => file.endsWith(".ts")).map((file) => file.slice(0, -3));

if (wanted === undefined || !names.includes(wanted)) {
  console.error(`npm run bench -- ${names.join(" | ")}`);
  process.exit(wanted === undefined ? 0 : 1);
}
const bench = (await import(pathToFileURL(join(folder, `${wanted}.ts`)).href)) as {
  run(parts: string[]): Promise<void>;
};
await bench.run(parts);
