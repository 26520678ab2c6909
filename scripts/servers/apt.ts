import { findProgram, run } from "./command.ts";

const installLimitMs = 300_000;

let updated: Promise<unknown> | undefined;
let previous: Promise<unknown> = Promise.resolve();

/** Installs Debian packages where this process may: answers false where it is not root or there is no apt-get. */
export async function aptInstall(...packages: string[]): Promise<boolean> {
  if (process.getuid?.() !== 0) return false;
  const aptGet = await findProgram("apt-get");
  if (!aptGet) return false;

  const options = { env: { DEBIAN_FRONTEND: "noninteractive" }, timeoutMs: installLimitMs };
  updated ??= run(aptGet, ["update", "-qq"], options);
  await updated;
  // dpkg takes one installation at a time.
  const install = previous.then(() =>
    run(aptGet, ["install", "-y", "-qq", "--no-install-recommends", ...packages], options),
  );
  previous = install.catch(() => undefined);
  await install;
  return true;
}
