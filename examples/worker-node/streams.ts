/** Two-way streams that outlive the breaks of their connection. */
import { setTimeout as sleep } from "node:timers/promises";
import type { ClientDuplexStream, Metadata, StatusObject } from "@grpc/grpc-js";
import { status } from "@grpc/grpc-js";
import type { QueuesClient, Report, ReportAnswer } from "./contract.ts";
import { connect } from "./contract.ts";

export const FIRST_PAUSE_MS = 100;
export const LONGEST_PAUSE_MS = 10_000;

interface StreamEvents<Answer> {
  /** Also after each break. */
  opened: () => void;
  message: (answer: Answer) => void;
  broken: () => void;
}

/** A two-way stream that is opened again when it breaks, ever more slowly while that does not help. */
export class LastingStream<Request, Answer> {
  readonly #name: string;
  readonly #address: string;
  readonly #open: (client: QueuesClient) => ClientDuplexStream<Request, Answer>;
  readonly #events: StreamEvents<Answer>;
  readonly #ending = new AbortController();
  #stream: ClientDuplexStream<Request, Answer> | undefined;

  constructor(
    name: string,
    address: string,
    open: (client: QueuesClient) => ClientDuplexStream<Request, Answer>,
    events: StreamEvents<Answer>,
  ) {
    this.#name = name;
    this.#address = address;
    this.#open = open;
    this.#events = events;
  }

  /** Sends now, or while there is no stream not at all: `opened` sends what counts. */
  write(request: Request): void {
    this.#stream?.write(request);
  }

  /** Sends no more; `run` resolves when the server has ended the stream too. */
  end(): void {
    this.#ending.abort();
    this.#stream?.end();
  }

  /** Ends the stream whatever the server does. */
  cancel(): void {
    this.end();
    this.#stream?.cancel();
  }

  /** Rejects where the server refuses what is asked of it, as it would each time. */
  async run(): Promise<void> {
    const { signal } = this.#ending;
    let pause = FIRST_PAUSE_MS;
    while (!signal.aborted) {
      const openedAt = performance.now();
      const { code, details } = await this.#once();
      if (code === status.INVALID_ARGUMENT) throw new Error(details);
      if (signal.aborted) return;
      this.#events.broken();
      if (performance.now() - openedAt > LONGEST_PAUSE_MS) pause = FIRST_PAUSE_MS;
      const wait = jittered(pause);
      console.log(`${this.#name}: ${details || "the server ended the stream"}; again in ${Math.round(wait)} ms`);
      await sleep(wait, undefined, { signal }).catch(() => undefined);
      pause = Math.min(pause * 2, LONGEST_PAUSE_MS);
    }
  }

  /** Opens the stream; resolves with how it ended, after its last message. */
  #once(): Promise<Pick<StatusObject, "code" | "details">> {
    return new Promise((resolve) => {
      let status: Pick<StatusObject, "code" | "details">;
      // A client of its own: one that has failed tries again when it thinks fit, and the pauses are ours.
      const client = connect(this.#address);
      const stream = this.#open(client);
      stream.on("data", this.#events.message);
      // The status says it all.
      stream.on("error", () => undefined);
      stream.on("status", (told) => (status = told));
      stream.on("end", () => {
        this.#stream = undefined;
        client.close();
        resolve(status);
      });
      this.#stream = stream;
      this.#events.opened();
    });
  }
}

/** What may lose its task before its reports are answered. */
interface Losable {
  readonly isLost: boolean;
}

/** The report stream: what is unanswered when it breaks is sent again. */
export class Reports {
  readonly stream: LastingStream<Report, ReportAnswer>;
  /** Answers come in the order of the reports. */
  #unanswered: { report: Report; run?: Losable; answered: (answer: ReportAnswer) => void }[] = [];

  constructor(address: string, metadata: Metadata) {
    this.stream = new LastingStream("reporting", address, (client) => client.ReportTaskResult(metadata), {
      opened: () => this.#sendAgain(),
      message: (answer) => this.#unanswered.shift()?.answered(answer),
      broken: () => undefined,
    });
  }

  /** Resolves with the answer, however many streams that takes. */
  send(report: Report, run?: Losable): Promise<ReportAnswer> {
    return new Promise((answered) => {
      this.#unanswered.push({ report, run, answered });
      this.stream.write(report);
    });
  }

  /** A second report of the same result is answered like the first. Of a lost task none is sent: it may be here again. */
  #sendAgain(): void {
    const stale = this.#unanswered.filter(({ run }) => run?.isLost);
    this.#unanswered = this.#unanswered.filter(({ run }) => !run?.isLost);
    for (const { answered } of stale) answered({ State: "400", Message: "the task was lost" });
    for (const { report } of this.#unanswered) this.stream.write(report);
  }
}

/** So that not all the workers of a node that was away come back at the same moment. */
export function jittered(ms: number): number {
  return ms * (0.5 + Math.random() / 2);
}
