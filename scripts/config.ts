/** `npm run config`: every setting, its value and where that comes from; `--example` prints `.env.example`. */
import { describeConfig, loadConfig } from "../lib/config.ts";
import { envExample } from "../lib/env-example.ts";
import { LongshoreError } from "../lib/errors.ts";

if (process.argv.includes("--example")) {
  process.stdout.write(envExample());
} else {
  const rows = describeConfig();
  const [names, values] = (["variable", "value"] as const).map((key) =>
    Math.max(...rows.map((row) => row[key].length)),
  );
  for (const { variable, value, source, meaning } of rows) {
    console.log(`${variable.padEnd(names!)}  ${value.padEnd(Math.min(values!, 48))}  ${source.padEnd(11)}  ${meaning}`);
  }
  try {
    loadConfig();
  } catch (error) {
    if (!(error instanceof LongshoreError)) throw error;
    console.error(`\nLongshore cannot start so: ${error.message}`);
    process.exitCode = 1;
  }
}
