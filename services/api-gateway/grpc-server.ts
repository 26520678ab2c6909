/** The one gRPC server of a gateway: serves what the services declare, also those that join while it runs. */
import { readFileSync } from "node:fs";
import type { ServiceBroker } from "moleculer";
import type { Config } from "../../lib/config.ts";
import { failedPrecondition } from "../../lib/errors.ts";
import type { ServerOptions, TlsOptions } from "../../lib/grpc/server.ts";
import { Server } from "../../lib/grpc/server.ts";
import type { GrpcBinding } from "../../mixins/grpc.mixin.ts";
import type { Received } from "./batch-stream.ts";
import { batchStream } from "./batch-stream.ts";
import { collectStream } from "./collect-stream.ts";
import { creditStream } from "./credit-stream.ts";
import { eachStream } from "./each-stream.ts";
import type { Contract, ServedMethod } from "./grpc-contract.ts";
import { readContract } from "./grpc-contract.ts";
import { GrpcHealth } from "./grpc-health.ts";
import type { OfferedService } from "./offered-services.ts";
import { pullStream } from "./pull-stream.ts";
import { Reflection } from "./reflection.ts";
import type { GatewayScope, Handler } from "./rpc.ts";
import { together } from "./together.ts";
import { unary } from "./unary.ts";

const KIB = 1024;
const MIB = 1024 * KIB;

const SERVER_OPTIONS: ServerOptions = {
  maxConnections: 10_000,
  maxConcurrentStreams: 10_000,
  maxWaitingBytes: 256 * MIB,
  maxMetadataBytes: 16 * KIB,
  maxReceiveBytes: 4 * MIB,
  maxSendBytes: 16 * MIB,
};

/** A binding, and the Moleculer service that declares it. */
interface Candidate {
  owner: string;
  binding: GrpcBinding;
}

/** A binding in service, and the text by which a change of it is seen. */
interface Served {
  text: string;
  contract: Contract;
}

export class GrpcServer {
  readonly #server: Server;
  readonly #scope: GatewayScope;
  readonly #logger: ServiceBroker["logger"];
  readonly #served = new Map<string, Served>();
  readonly #health: GrpcHealth;
  readonly #reflection: Reflection;

  /** When `draining` aborts, the node does not serve any more and its streams end. */
  constructor(scope: GatewayScope, logger: ServiceBroker["logger"]) {
    this.#logger = logger;
    this.#scope = scope;
    this.#server = new Server(SERVER_OPTIONS, (error) => logger.error("the gRPC server has failed", error));
    this.#health = new GrpcHealth(this.#server, scope.draining);
    this.#reflection = new Reflection(this.#server, scope.draining);
  }

  /**
   * Serves what is offered now. What nobody offers any more stays: its calls find no node and answer UNAVAILABLE, for it
   * is known and may come back.
   */
  update(offered: OfferedService[]): void {
    const offers = Map.groupBy(
      offered.flatMap(({ fullName, grpc }) => grpc.map((binding) => ({ owner: fullName, binding }))),
      ({ binding }) => binding.service,
    );
    const changed = [...offers].filter(([name, candidates]) => this.#serve(name, candidates));
    if (changed.length > 0) this.#reflection.update([...this.#served.values()].map(({ contract }) => contract));
    this.#health.update([...this.#served.keys()], new Set(offers.keys()));
  }

  /** Listens; the port it got. */
  async listen({ host, grpcPort: port, ...config }: Config): Promise<number> {
    const tls = tlsOptions(config);
    try {
      return await this.#server.listen({ host, port, ...(tls && { tls }) });
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      if (code === "EADDRINUSE") throw failedPrecondition(`GRPC_PORT ${port} is in use`);
      throw failedPrecondition(`GRPC_PORT ${port} on ${host}: ${message}`);
    }
  }

  /** Says whether the node as a whole serves. */
  setServing(serving: boolean): void {
    this.#health.setServing(serving);
  }

  /** After a drain: lets the calls under way end, and cuts off what has not ended after `timeout` ms. */
  async stop(timeout: number): Promise<void> {
    const force = setTimeout(() => {
      this.#logger.warn(`gRPC calls did not end within ${timeout} ms and were cut off`);
      this.#server.cut();
    }, timeout);
    await this.#server.stop();
    clearTimeout(force);
  }

  /** Serves one of the candidates, unless one of them is in service already; whether anything has changed. */
  #serve(name: string, candidates: Candidate[]): boolean {
    const now = this.#served.get(name);
    const texts = candidates.map((candidate) => JSON.stringify(candidate));
    // While nodes of two versions run, the one that is in service stays in service.
    if (now && texts.includes(now.text)) return false;
    const [{ owner, binding }] = candidates as [Candidate];
    let contract: Contract;
    try {
      contract = readContract(binding, owner);
    } catch (error) {
      this.#logger.error(`${owner} declares ${name}, which cannot be served`, error);
      return false;
    }
    for (const { definition } of now?.contract.methods ?? []) this.#server.unregister(definition.path);
    for (const method of contract.methods) this.#register(method);
    this.#served.set(name, { text: texts[0]!, contract });
    return true;
  }

  #register(method: ServedMethod): void {
    const { path, requestStream, responseStream, responseSerialize, requestDeserialize } = method.definition;
    const register = <Request>(handle: Handler<Request>, deserialize: (bytes: Buffer) => Request): void => {
      this.#server.register({ path, requestStream, responseStream, serialize: responseSerialize, deserialize, handle });
    };
    const withSize = (bytes: Buffer): Received => ({ message: requestDeserialize(bytes), bytes: bytes.length });
    if (method.binding.together) {
      register(together(method, this.#scope), withSize);
    } else if (!requestStream && !responseStream) {
      register(unary(method, this.#scope), requestDeserialize);
    } else if (!requestStream) {
      register(pullStream(method, this.#scope), requestDeserialize);
    } else if (!responseStream) {
      register(collectStream(method, this.#scope), withSize);
    } else if (method.binding.stream === "batch") {
      register(batchStream(method, this.#scope), withSize);
    } else {
      const handler = method.binding.stream === "credit" ? creditStream : eachStream;
      register(handler(method, this.#scope), requestDeserialize);
    }
  }
}

type TlsFiles = Pick<Config, "grpcTlsCert" | "grpcTlsKey" | "grpcTlsCa">;

function tlsOptions({ grpcTlsCert, grpcTlsKey, grpcTlsCa }: TlsFiles): TlsOptions | undefined {
  if (!grpcTlsCert || !grpcTlsKey) return undefined;
  return {
    cert: readPem("GRPC_TLS_CERT", grpcTlsCert),
    key: readPem("GRPC_TLS_KEY", grpcTlsKey),
    ...(grpcTlsCa && { ca: readPem("GRPC_TLS_CA", grpcTlsCa) }),
  };
}

function readPem(variable: string, path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    throw failedPrecondition(`${variable} ${path}: ${(error as Error).message}`);
  }
}
