/** Takes errors across nodes: ours keep their class, type and data, and no stack travels. */
import { Errors, type ServiceBroker } from "moleculer";
import { LongshoreError, viewError } from "./errors.ts";

type PlainError = ReturnType<Errors.Regenerator["extractPlainError"]>;

export class ErrorRegenerator extends Errors.Regenerator {
  declare broker: ServiceBroker;

  /** Without the stack: a fault's is in the log of the node where it happened, a refusal needs none. */
  override extractPlainError(error: Record<string, unknown>): PlainError {
    const { name, message, nodeID, code, type, retryable, data } = error as unknown as PlainError;
    return { name, message, nodeID: nodeID || this.broker.nodeID, code, type, retryable, data } as PlainError;
  }

  override restoreCustomError(plain: PlainError): Error {
    if (plain.name !== LongshoreError.name) return undefined as unknown as Error;
    const { type, message, data } = viewError(plain);
    return new LongshoreError(type, message, data);
  }
}
