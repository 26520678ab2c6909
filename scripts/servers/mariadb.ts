import { writeFile } from "node:fs/promises";
import path from "node:path";
import { aptInstall } from "./apt.ts";
import { findProgram, run as runCommand } from "./command.ts";
import { freePort } from "./free-port.ts";
import { unprivilegedUser, type Run } from "./run.ts";

const initLimitMs = 60_000;

const firstStatements = `
CREATE DATABASE longshore CHARACTER SET utf8mb4;
CREATE USER longshore@'%' IDENTIFIED BY 'longshore';
GRANT ALL ON *.* TO longshore@'%' WITH GRANT OPTION;
`;

/** Starts MariaDB with an administrator `longshore` and answers its URL; undefined where there is no such program. */
export async function startMariadb(run: Run): Promise<string | undefined> {
  let programs = await findPrograms();
  if (!programs && (await aptInstall("mariadb-server-core", "mariadb-client-core"))) programs = await findPrograms();
  if (!programs) return undefined;

  const user = unprivilegedUser();
  const directory = run.makeDirectory("mariadb", user);
  const initFile = path.join(directory, "init.sql");
  await writeFile(initFile, firstStatements);
  const common = [
    "--no-defaults",
    `--datadir=${path.join(directory, "data")}`,
    "--innodb-flush-method=nosync",
    "--innodb-log-file-size=16M",
  ];
  await runCommand(programs.install, [...common, "--skip-test-db", "--auth-root-authentication-method=normal"], {
    cwd: directory,
    timeoutMs: initLimitMs,
    ...user,
  });

  const port = await freePort();
  const { certificate, key } = run.makeTlsFiles(directory, user);
  const args = [
    ...common,
    `--ssl-cert=${certificate}`,
    `--ssl-key=${key}`,
    "--bind-address=127.0.0.1",
    `--port=${port}`,
    `--socket=${path.join(directory, "socket")}`,
    `--init-file=${initFile}`,
    "--skip-name-resolve",
    "--innodb-flush-log-at-trx-commit=0",
  ];
  await run.start("mariadbd", { command: programs.server, args, ready: /ready for connections/ }, user);
  return `mysql://longshore:longshore@127.0.0.1:${port}/longshore`;
}

async function findPrograms(): Promise<{ install: string; server: string } | undefined> {
  const install = await findProgram("mariadb-install-db");
  const server = await findProgram("mariadbd");
  return install && server ? { install, server } : undefined;
}
