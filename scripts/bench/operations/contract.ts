/** google.longrunning.Operations on plain grpc-js. */
import type { CallOptions, ServiceDefinition, ServiceError } from "@grpc/grpc-js";
import { Client, Metadata, credentials } from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import { getProtoPath } from "google-proto-files";

export const contract = loadSync("google/longrunning/operations.proto", {
  includeDirs: [getProtoPath("..")],
  keepCase: true,
  longs: String,
  enums: String,
  defaults: true,
  oneofs: true,
})["google.longrunning.Operations"] as unknown as ServiceDefinition;

export interface OperationMessage {
  name: string;
  done: boolean;
}

/** Calls an RPC with a message, on one connection. */
export class OperationsClient {
  readonly #client: Client;

  constructor(address: string) {
    this.#client = new Client(address, credentials.createInsecure(), { "grpc.use_local_subchannel_pool": 1 });
  }

  call<T>(rpc: string, request: object, options: CallOptions = {}): Promise<T> {
    const { path, requestSerialize, responseDeserialize } = contract[rpc]!;
    return new Promise((resolve, reject) => {
      const answer = (error: ServiceError | null, message?: T): void => (error ? reject(error) : resolve(message!));
      this.#client.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, NO_METADATA, options, answer);
    });
  }

  close(): void {
    this.#client.close();
  }
}

const NO_METADATA = new Metadata();
