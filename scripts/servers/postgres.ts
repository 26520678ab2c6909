import { writeFile } from "node:fs/promises";
import path from "node:path";
import { aptInstall } from "./apt.ts";
import { findProgram, run as runCommand } from "./command.ts";
import { freePort } from "./free-port.ts";
import { unprivilegedUser, type Run } from "./run.ts";

const initLimitMs = 60_000;

/** Starts PostgreSQL with a superuser `longshore` and answers its URL; undefined where there is no such program. */
export async function startPostgres(run: Run): Promise<string | undefined> {
  let initdb = await findInitdb();
  if (!initdb && (await aptInstall("postgresql"))) initdb = await findInitdb();
  if (!initdb) return undefined;

  const user = unprivilegedUser();
  const directory = run.makeDirectory("postgres", user);
  const data = path.join(directory, "data");
  const passwordFile = path.join(directory, "password");
  await writeFile(passwordFile, "longshore\n");
  await runCommand(
    initdb,
    [
      ...["--pgdata", data, "--username", "longshore", "--pwfile", passwordFile, "--auth", "scram-sha-256"],
      ...["--encoding", "UTF8", "--locale", "C", "--no-sync"],
    ],
    { cwd: directory, timeoutMs: initLimitMs, ...user },
  );

  const port = await freePort();
  const { certificate, key } = run.makeTlsFiles(directory, user);
  const settings = {
    ssl: "on",
    ssl_cert_file: certificate,
    ssl_key_file: key,
    listen_addresses: "127.0.0.1",
    port,
    unix_socket_directories: "",
    fsync: "off",
    full_page_writes: "off",
    synchronous_commit: "off",
  };
  const args = ["-D", data, ...Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`])];
  const command = path.join(path.dirname(initdb), "postgres");
  await run.start("postgres", { command, args, ready: /ready to accept connections/ }, user);
  return `postgres://longshore:longshore@127.0.0.1:${port}/postgres`;
}

function findInitdb(): Promise<string | undefined> {
  return findProgram("initdb", "/usr/lib/postgresql/*/bin");
}
