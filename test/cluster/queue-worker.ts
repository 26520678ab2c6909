/** A worker process for the tests: holds what it receives until it is told to report, or dies of a task that says so. */
import { createInterface } from "node:readline";
import type { Answer, ReceivedMessage } from "../queues-client.ts";
import { QueuesClient } from "../queues-client.ts";

export interface WorkerSettings {
  address: string;
  name: string;
  channel: string;
  credits: number;
  leaseSeconds: number;
  /** Reports only when a line comes in, and then prints the answers' states. */
  holds: boolean;
  /** How long it works on a task. */
  workMs?: number;
  /** Asks for nothing until a line comes in: what has to be quick is not how a process starts. */
  waits?: boolean;
}

const SUCCESS = 1;

const settings = JSON.parse(process.argv[2] ?? "") as WorkerSettings;
const { address, name, channel, credits, leaseSeconds, holds, workMs = 0, waits = false } = settings;
const client = new QueuesClient(address);
const metadata = { "x-worker-id": name };
const receive = client.receive(metadata);
const reports = client.reports(metadata);
const held: string[] = [];
const states: string[] = [];
const credit = { Channel: channel, LeaseSeconds: leaseSeconds };

function report(ID: string): void {
  reports.write({ ID, State: SUCCESS, Output: name });
}

function ask(): void {
  for (let left = credits; left > 0; left -= 1) receive.write(credit);
}

receive.on("error", () => undefined);
receive.on("data", ({ Tasks: { ID, Input } }: ReceivedMessage) => {
  if (Input === "poison") process.kill(process.pid, "SIGKILL");
  held.push(ID);
  if (!holds) setTimeout(report, workMs, ID);
  else if (held.length === credits) console.log("full");
});
reports.on("error", () => undefined);
reports.on("data", ({ State }: Answer<string>) => {
  states.push(State);
  if (!holds) receive.write(credit);
  else if (states.length === held.length) console.log(JSON.stringify(states));
});
createInterface({ input: process.stdin }).once("line", () => (waits ? ask() : held.forEach(report)));
if (!waits) ask();
