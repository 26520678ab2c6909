/** The way in: REST by moleculer-web and gRPC, both from what the services of the registry declare. */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Context, Service, ServiceSchema } from "moleculer";
import type { GatewayResponse, IncomingRequest } from "moleculer-web";
import ApiService from "moleculer-web";
import type { Config } from "../../lib/config.ts";
import { configOf } from "../../lib/config.ts";
import { invalidArgument, notFound } from "../../lib/errors.ts";
import type { ObjectStore } from "../../lib/objects/object-store.ts";
import { openObjects } from "../../lib/objects/open.ts";
import { objectsPlace } from "../../lib/objects/place.ts";
import { GrpcServer } from "./grpc-server.ts";
import { answerHealth } from "./http-health.ts";
import { HttpServer, refuseCrossOrigin } from "./http-server.ts";
import { offeredServices } from "./offered-services.ts";
import type { StreamMessage } from "../../mixins/grpc.mixin.ts";
import { identify } from "./request-identity.ts";
import type { GatewayScope } from "./rpc.ts";
import type { RestScope } from "./rest-call.ts";
import { serveRest } from "./rest-call.ts";
import { sendError } from "./rest-errors.ts";
import type { RestRoute } from "./rest-routes.ts";
import { bySpecificity, restRoutes } from "./rest-routes.ts";

/** Changes of the registry come in bursts, when a node joins or leaves. */
const SETTLE = 50;

type Handler = (req: IncomingRequest, res: GatewayResponse) => void;

interface Gateway extends Service {
  /** Where it listens, once it has started. */
  addresses: { http: string; grpc: string };
  config: Config;
  httpServer: HttpServer;
  grpcServer: GrpcServer;
  /** Aborted when the node begins to stop. */
  draining: AbortController;
  streams: GatewayScope["streams"];
  objects: Promise<ObjectStore> | undefined;
  /** Routes by service, of every service that was ever offered: where no node offers it now, its paths are 503. */
  routesOf: Map<string, RestRoute[]>;
  settling: NodeJS.Timeout | undefined;
  refresh(): void;
  openObjects(): Promise<ObjectStore>;
  httpHandler(req: IncomingMessage, res: ServerResponse): Promise<void>;
  sendResponse(req: IncomingRequest, res: GatewayResponse, data: unknown): void;
  addRoute(route: object): void;
  regenerateAllAutoAliases(): void;
}

const gateway = {
  name: "api-gateway",
  mixins: [ApiService as ServiceSchema],

  settings: {
    // Both servers are made here: a port in use must fail the start, not end the process.
    server: false,
    path: "/",
    // A route that nothing matches, for moleculer-web puts a route of its own where there is none.
    routes: [{ path: "/", aliases: {}, mappingPolicy: "restrict" }],
    optimizeOrder: false,
    logRequest: null,
    logRequestParams: null,
    logResponse: null,
    logRouteRegistration: null,
  },

  actions: {
    listAliases: false,
    addRoute: false,
    removeRoute: false,
    // As many requests may wait as there are clients that do; the actions behind them have their own limits.
    rest: { bulkhead: { enabled: false } },
  },

  events: {
    "$services.changed"(this: Gateway) {
      if (!this.broker.started) return this.refresh();
      this.settling ??= setTimeout(() => this.refresh(), SETTLE);
    },
    "$broker.started"(this: Gateway) {
      this.refresh();
      this.grpcServer.setServing(true);
    },
    "gateway.streamMessage"(this: Gateway, ctx: Context<StreamMessage>) {
      this.streams.get(ctx.params.stream)?.(ctx.params.message);
    },
    "$node.draining"(this: Gateway) {
      this.draining.abort();
    },
  },

  methods: {
    /** Makes REST routes and gRPC services those that the registry knows now. */
    refresh(this: Gateway) {
      clearTimeout(this.settling);
      this.settling = undefined;
      const offered = offeredServices(this.broker);
      this.grpcServer.update(offered);
      for (const service of offered) this.routesOf.set(service.fullName, restRoutes(service));
      const routes = [...this.routesOf.values()].flat().sort(bySpecificity);
      const scope: RestScope = {
        respond: this.sendResponse.bind(this),
        objects: () => this.openObjects(),
        draining: this.draining.signal,
      };
      const aliases = Object.fromEntries(
        routes.map((route): [string, Handler] => [
          `${route.method} ${route.pattern}`,
          (req, res) => void serveRest(route, req, res, scope),
        ]),
      );
      this.addRoute({
        path: "/",
        aliases,
        // The other policy would let in every action by its name.
        mappingPolicy: "restrict",
        mergeParams: false,
        bodyParsers: false,
        logging: false,
        pathToRegexpOptions: { sensitive: true },
      });
    },

    /** The object store, opened when a request first needs it. */
    openObjects(this: Gateway) {
      this.objects ??= openObjects(objectsPlace(this.config)).catch((error: unknown) => {
        this.objects = undefined;
        throw error;
      });
      return this.objects;
    },

    /** In place of moleculer-web's: who the request is and whether it may come in is settled before its route. */
    async httpHandler(this: Gateway, req: IncomingMessage, res: ServerResponse) {
      const { requestId, traceparent } = identify((name) => req.headers[name]?.toString());
      const path = pathOf(req);
      res.setHeader("X-Request-ID", requestId);
      try {
        if (answerHealth(req, res, this.broker.started && !this.draining.signal.aborted)) return;
        refuseCrossOrigin(req);
        checkPath(path);
        // moleculer-web would run the action that a preflight asks about.
        const routed =
          req.method === "OPTIONS"
            ? null
            : await this.actions.rest!({ req, res }, { requestID: requestId, meta: { traceparent } });
        if (routed === null) throw notFound(`${req.method} ${path}: there is no such path`);
      } catch (error) {
        sendError(res, error, requestId);
      }
    },
  },

  created(this: Gateway) {
    this.config = configOf(this.broker);
    this.addresses = { http: "", grpc: "" };
    this.draining = new AbortController();
    this.objects = undefined;
    this.routesOf = new Map();
    this.streams = new Map();
    const scope = { broker: this.broker, draining: this.draining.signal, streams: this.streams };
    this.grpcServer = new GrpcServer(scope, this.logger);
    this.httpServer = new HttpServer((req, res) => void this.httpHandler(req, res));
    // moleculer-web's own refreshing has nothing to do, and would tell all nodes that it did.
    this.regenerateAllAutoAliases = () => undefined;
  },

  async started(this: Gateway) {
    this.refresh();
    const { host, grpcTlsCert } = this.config;
    const httpPort = await this.httpServer.listen(this.config);
    const grpcPort = await this.grpcServer.listen(this.config);
    const name = host.includes(":") ? `[${host}]` : host;
    this.addresses = {
      http: `http://${name}:${httpPort}`,
      grpc: `${grpcTlsCert ? "grpcs" : "grpc"}://${name}:${grpcPort}`,
    };
  },

  async stopped(this: Gateway) {
    this.draining.abort();
    clearTimeout(this.settling);
    const { stopTimeout } = this.config;
    await Promise.all([this.httpServer.close(stopTimeout), this.grpcServer.stop(stopTimeout)]);
  },
};

export default gateway as unknown as ServiceSchema;

function pathOf(req: IncomingMessage): string {
  return (req.url ?? "").split("?", 1)[0]!;
}

/** moleculer-web would call it a fault of ours. */
function checkPath(path: string): void {
  try {
    decodeURIComponent(path);
  } catch {
    throw invalidArgument("path", "is not percent-encoded as it should be");
  }
}
