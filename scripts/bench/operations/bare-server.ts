/** GetOperation on bare grpc-js, which calls an action of a bare Moleculer broker: what the gateway and this view add to that is measured. */
import type { sendUnaryData, ServerUnaryCall } from "@grpc/grpc-js";
import { Server, ServerCredentials } from "@grpc/grpc-js";
import { ServiceBroker } from "moleculer";
import type { OperationMessage } from "./contract.ts";
import { contract } from "./contract.ts";

const broker = new ServiceBroker({ logger: false });
broker.createService({
  name: "operations",
  actions: {
    get: ({ params }: { params: { name: string } }) => ({
      name: params.name,
      done: false,
      metadata: { type_url: "type.googleapis.com/longshore.v1.OperationMetadata", value: Buffer.alloc(80) },
    }),
  },
});
await broker.start();

const server = new Server();
server.addService(contract, {
  GetOperation: (
    call: ServerUnaryCall<{ name: string }, OperationMessage>,
    callback: sendUnaryData<OperationMessage>,
  ) => {
    broker.call<OperationMessage, object>("operations.get", call.request).then(
      (operation) => callback(null, operation),
      (error: Error) => callback(error),
    );
  },
});
server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, port) => {
  if (error) throw error;
  process.send?.(`127.0.0.1:${port}`);
});
process.on("disconnect", () => process.exit());
