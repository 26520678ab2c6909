/** Names of what is being written, from which others can tell whose it is and whether its writer is dead. */
import { randomUUID } from "node:crypto";
import { hostname } from "node:os";

/** Where they are; no key of an object can begin with a dot. */
export const INCOMING = ".incoming";

/** `<owner>.<pid>.<uuid>.<host>`. */
export function incomingName(owner: string): string {
  return `${owner}.${process.pid}.${randomUUID()}.${hostname()}`;
}

/** Whether the process behind a name is known to have ended: of another host's it is not known. */
export function writerIsDead(name: string): boolean {
  const [, pid = "", , ...host] = name.split(".");
  return host.join(".") === hostname() && !isAlive(Number(pid));
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}
