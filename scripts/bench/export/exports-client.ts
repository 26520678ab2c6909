/** Exports on plain grpc-js: begins them, and cancels them. */
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { ServiceDefinition } from "@grpc/grpc-js";
import { Client, credentials } from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import { getProtoPath } from "google-proto-files";
import { OperationsClient, type OperationMessage } from "../operations/contract.ts";

const PROTO = join(import.meta.dirname, "..", "..", "..", "proto");
const contract = loadSync("longshore/v1/export.proto", {
  includeDirs: [PROTO, getProtoPath("..")],
  keepCase: true,
  longs: String,
})["longshore.v1.Exports"] as unknown as ServiceDefinition;

export interface ExportRequest {
  ext_type: string;
  title: string;
  user_id: string;
  conn: number;
  source_http: { url: string };
}

export class ExportsClient {
  readonly #client: Client;
  readonly #operations: OperationsClient;

  constructor(address: string) {
    this.#client = new Client(address, credentials.createInsecure(), { "grpc.use_local_subchannel_pool": 1 });
    this.#operations = new OperationsClient(address);
  }

  /** Answers the name of the export's operation. */
  begin(request: ExportRequest): Promise<string> {
    const { path, requestSerialize, responseDeserialize } = contract["ExportHttp"]!;
    return new Promise((resolve, reject) => {
      this.#client.makeUnaryRequest<ExportRequest, OperationMessage>(
        path,
        requestSerialize,
        responseDeserialize,
        request,
        (error, operation) => (error ? reject(error) : resolve(operation!.name)),
      );
    });
  }

  async isDone(name: string): Promise<boolean> {
    return (await this.#operations.call<OperationMessage>("GetOperation", { name })).done;
  }

  /** Resolves when it has ended. */
  async cancel(name: string): Promise<void> {
    await this.#operations.call("CancelOperation", { name });
    while (!(await this.isDone(name))) await delay(100);
  }

  close(): void {
    this.#client.close();
    this.#operations.close();
  }
}
