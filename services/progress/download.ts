/** The files of tasks, by signed links; who has one used is noted. */
import type { ActionSchema, Context } from "moleculer";
import { LongshoreError } from "../../lib/errors.ts";
import { signPath, verifyPath } from "../../lib/objects/signed-url.ts";
import { rest } from "../../lib/rest-options.ts";
import { downloaded } from "./data-task.ts";
import type { This } from "./progress.service.ts";
import type { Params } from "./request.ts";
import { readDigits } from "./request.ts";

export type Which = "file" | "report";

interface LinkParams {
  which: Which;
  expires?: string;
  signature?: string;
}

/** Checks the link, notes who has it used, and says which object it stands for; the gateway sends that. */
export const download = {
  rest: rest({ path: "GET /v1/task/{id}/{which}", response: "object", headers: ["range"] }),
  async handler(this: This, { params, meta }: Context<Params & LinkParams, { headers: Record<string, string> }>) {
    const { which, expires, signature } = params;
    const id = readDigits(params["id"], "id");
    const verdict = verifyPath(linkPath(id, which), { expires, signature }, this.signingKey);
    if (verdict !== "valid") {
      const problem = verdict === "expired" ? "the link has expired" : "the link is not one of ours";
      throw new LongshoreError("PERMISSION_DENIED", problem);
    }
    // A download that goes on is the one that was noted.
    const whole = !meta.headers["range"] || /^bytes=0-/.test(meta.headers["range"]);
    const { told } = await this.tasks.load(id);
    if (whole) await this.tasks.change(id, (now) => downloaded(now, ""));
    const { file = "", report = "", name = "" } = told.result ?? {};
    return which === "report"
      ? { key: report, fileName: `${id}.refused.csv`, contentType: "text/csv" }
      : { key: file, fileName: name, contentType: mediaTypeOf(name) };
  },
} satisfies ActionSchema<This>;

/** The path of a link that is good until then, with its signature. */
export function signedPath(id: string, which: Which, expires: Date, secret: Buffer): string {
  return signPath(linkPath(id, which), expires, secret);
}

function linkPath(id: string, which: string): string {
  return `/v1/task/${id}/${which}`;
}

function mediaTypeOf(name: string): string {
  if (name.endsWith(".zip")) return "application/zip";
  return name.endsWith(".csv") ? "text/csv" : "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet";
}
