/** A client of data tasks over REST. */
import { waitFor } from "./wait-for.ts";

export interface AuditStep {
  time: string;
  actor: string;
  action: string;
  state: string;
  comment: string;
  hash: string;
}

/** As REST tells it. */
export interface Detail {
  ok: boolean;
  state: string;
  reason: string;
  url: string;
  rows: string;
  bytes: string;
  unmappable: string;
  operation: string;
  steps: AuditStep[];
  taskId: string;
  name: string;
  submitter: string;
  dsn: string;
  estimatedRows?: string;
  approvers: string[];
  refused: string;
  reportUrl: string;
  progress: number;
  nextTime: string;
  parentId: string;
}

export interface Refused {
  status: number;
  message: string;
  fields: string[];
}

/** Threads of jobs have a lower priority than the tests beside them. */
const END_LIMIT_MS = 60_000;

const ENDED = ["PRE_CHECK_FAILED", "NOT_APPROVED", "SUCCESS", "FAILURE", "CANCEL"];

export class ProgressClient {
  readonly #http: string;

  constructor(http: string) {
    this.#http = http;
  }

  /** Submits and answers the id. */
  async submit(request: object): Promise<string> {
    const { taskId } = await this.call<{ taskId: string }>("POST", "/v1/task/submit", request);
    return taskId;
  }

  detail(id: string): Promise<Detail> {
    return this.call("GET", `/v1/task/detail?taskId=${id}`);
  }

  act(id: string, what: string, body: object = {}): Promise<Detail> {
    return this.call("POST", `/v1/task/${id}:${what}`, body);
  }

  /** The detail, once it has that state; throws where it ends in another. */
  async until(id: string, state: string): Promise<Detail> {
    const found = await waitFor(async () => {
      const detail = await this.detail(id);
      return detail.state === state || ENDED.includes(detail.state) ? detail : undefined;
    }, END_LIMIT_MS);
    if (found.state !== state) throw new Error(`task ${id} is ${found.state}, not ${state}: ${found.reason}`);
    return found;
  }

  /** Submits and answers the detail of the task once it has that state. */
  async run(request: object, state = "SUCCESS"): Promise<Detail> {
    return this.until(await this.submit(request), state);
  }

  async call<T>(method: string, path: string, body?: object): Promise<T> {
    const response = await this.#fetch(method, path, body);
    const text = await response.text();
    if (response.status !== 200) throw new Error(`${response.status} ${text}`);
    return JSON.parse(text) as T;
  }

  async refused(method: string, path: string, body?: object): Promise<Refused> {
    const response = await this.#fetch(method, path, body);
    const { error } = (await response.json()) as {
      error: { message: string; details?: { fieldViolations?: { field: string }[] }[] };
    };
    const fields = (error.details ?? []).flatMap(({ fieldViolations = [] }) =>
      fieldViolations.map(({ field }) => field),
    );
    return { status: response.status, message: error.message, fields };
  }

  #fetch(method: string, path: string, body?: object): Promise<Response> {
    const json = body && { headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
    return fetch(this.#http + path, { method, ...json });
  }
}

/** An export by statement. */
export function exportOf(dsn: string, statement: string, detail: object = {}, task: object = {}): object {
  return { name: "report", kind: "TASK_KIND_DATA_EXPORT", dsn, ded: { ebs: { statement }, ...detail }, ...task };
}
