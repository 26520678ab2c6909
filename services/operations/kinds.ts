/** What services declare of their tasks as operations, and the types of all messages that operations hold. */
import type { ServiceBroker } from "moleculer";
import type protobuf from "protobufjs";
import { unavailable } from "../../lib/errors.ts";
import { loadProto, readProto } from "../../lib/protobuf/proto-source.ts";
import type { OperationBinding, OperationDetail, WorkerSettings } from "../../mixins/worker.mixin.ts";
import type { Operation, OperationTask } from "./operation.ts";
import { kindOf, operationOf, USER_KIND } from "./operation.ts";

/** A kind whose service tells more of its tasks than queues knows. */
interface Kind extends Pick<OperationBinding, "response"> {
  /** Full name of the action that describes tasks. */
  describe: string;
}

interface OfferingService {
  fullName: string;
  settings?: WorkerSettings;
}

export class Kinds {
  readonly #broker: ServiceBroker;
  /** They stay known when their service goes: its operations are unavailable then, and not of another kind. */
  readonly #kinds = new Map<string, Kind>();
  readonly #types = new Map<string, protobuf.Type>();

  constructor(broker: ServiceBroker) {
    this.#broker = broker;
    this.#learn(readProto("longshore/v1/operations.proto"));
  }

  /** Takes from the registry what is offered now. */
  refresh(): void {
    const services = this.#broker.registry.getServiceList({ onlyAvailable: true }) as unknown as OfferingService[];
    for (const { fullName, settings } of services) {
      for (const [channel, { operation }] of Object.entries(settings?.workers ?? {})) {
        if (!operation) continue;
        this.#kinds.set(channel, { response: operation.response, describe: `${fullName}.${operation.describe}` });
        if (!this.#types.has(operation.response)) this.#learn(operation.files);
      }
    }
  }

  type(name: string): protobuf.Type {
    const type = this.#types.get(name);
    if (!type) throw unavailable(`no node knows the message ${name} now`);
    return type;
  }

  /** The operations of these tasks, in their order. */
  async describe(tasks: OperationTask[]): Promise<Operation[]> {
    const details = new Map<OperationTask, OperationDetail>();
    const ours = Map.groupBy(
      tasks.filter((task) => kindOf(task) !== USER_KIND),
      ({ channel }) => this.#kinds.get(channel),
    );
    const asked = [...ours].map(async ([kind, his]) => {
      if (!kind) return;
      const answers: OperationDetail[] = await this.#broker.call(kind.describe, { tasks: his });
      for (const [index, task] of his.entries()) details.set(task, answers[index] ?? {});
    });
    await Promise.all(asked);
    return tasks.map((task) => {
      const response = task.internal && this.#kinds.get(task.channel)?.response;
      return operationOf(task, details.get(task), response || undefined);
    });
  }

  #learn(files: ReturnType<typeof readProto>): void {
    const [first = ""] = Object.keys(files);
    const root = loadProto(files);
    for (const type of typesOf(root)) {
      // Of Google's files each source has its own objects, and all of them say the same.
      if (type.filename === first) this.#types.set(type.fullName.slice(1), type);
    }
  }
}

function typesOf(namespace: protobuf.NamespaceBase): protobuf.Type[] {
  return namespace.nestedArray.flatMap((nested) => {
    const own = "fieldsArray" in nested ? [nested as protobuf.Type] : [];
    return "nestedArray" in nested ? [...own, ...typesOf(nested as protobuf.NamespaceBase)] : own;
  });
}
