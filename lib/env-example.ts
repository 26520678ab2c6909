/** The text of `.env.example`: every setting with its default, told from the one table. */
import { SETTINGS, type Setting } from "./settings.ts";

/** The file's whole text. */
export function envExample(): string {
  const parts = Object.values<Setting>(SETTINGS).map(
    (setting) =>
      `# ${setting.meaning}${setting.shown ? ` Default: ${setting.shown}.` : ""}\n#${setting.variable}=${plainDefault(setting)}\n`,
  );
  return `# Copy to .env and uncomment what should differ. What the environment says goes before what .env says.\n\n${parts.join("\n")}`;
}

/** Defaults that are made at run time differ from machine to machine, and stand in the comment. */
function plainDefault(setting: Setting): string {
  return setting.shown ? "" : (setting.default ?? "");
}
