/** Many requests in one call: each is done or refused on its own, and has an answer in its place. */
import type { Service } from "moleculer";
import { invalidArgument, LongshoreError, viewError } from "../../lib/errors.ts";
import type { Outcome } from "../../mixins/grpc.mixin.ts";
import { done, type Params } from "./wire.ts";

/** Requests that the messages of one batch may hold. */
export const MAX_BATCH = 1_000;

/** The items of a batch as it came in, each a message that is read on its own. */
export function readBatch(field: string, value: unknown): Params[] {
  if (!Array.isArray(value) || value.length === 0) throw invalidArgument(field, `must be a list of 1 to ${MAX_BATCH}`);
  if (value.length > MAX_BATCH) {
    throw invalidArgument(field, `must be a list of 1 to ${MAX_BATCH}, not of ${value.length}`);
  }
  return value as Params[];
}

/** Begins `work` for all of the items in their order; answers what became of each, for the gateway to tell. */
export function outcomeOfEach(
  service: Service,
  requestId: string | null | undefined,
  items: Params[],
  work: (item: Params) => Promise<Params>,
): Promise<Outcome[]> {
  const outcome = async (item: Params): Promise<Outcome> => {
    try {
      return { answer: done(await work(item)) };
    } catch (error) {
      const { type, message, data } = viewError(error);
      if (error instanceof LongshoreError) return { error: { type, message, data } };
      service.logger.error("one of those that came together failed:", error);
      return { error: { type, message: `internal error in request ${requestId}`, data } };
    }
  };
  return Promise.all(items.map(outcome));
}

/**
 * Begins `work` for all of the items in their order, and answers when all are done. Rejects where nothing could be done for
 * any of them, because of what they all need. `refused` adds to the answer of a refusal.
 */
export async function answerEach(
  service: Service,
  items: Params[],
  work: (item: Params) => Promise<Params>,
  refused: (item: Params) => Params = () => ({}),
): Promise<Params[]> {
  const failures: unknown[] = [];
  const answer = async (item: Params): Promise<Params> => {
    try {
      return done(await work(item));
    } catch (error) {
      const { http, message } = viewError(error);
      if (http >= 429) failures.push(error);
      if (!(error instanceof LongshoreError)) service.logger.error("one of a batch failed:", error);
      return { ...refused(item), State: String(http), Message: message };
    }
  };
  const answers = await Promise.all(items.map(answer));
  if (failures.length === items.length) throw failures[0];
  return answers;
}
