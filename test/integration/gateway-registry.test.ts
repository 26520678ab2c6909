import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { once } from "node:events";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { status } from "@grpc/grpc-js";
import type { ServiceSchema } from "moleculer";
import descriptor from "protobufjs/ext/descriptor/index.js";
import { grpc } from "../../mixins/grpc.mixin.ts";
import gateway from "../../services/api-gateway/api-gateway.service.ts";
import type { Message } from "../grpc-client.ts";
import { TestClient, protoDirectory } from "../grpc-client.ts";
import type { TestNode } from "../node.ts";
import { startNode } from "../node.ts";
import { describeWith, serverUrl } from "../servers.ts";
import { waitFor } from "../wait-for.ts";

const modules = createRequire(import.meta.url);
const REFLECTION = join(dirname(modules.resolve("@grpc/reflection/package.json")), "build/proto/grpc/reflection");
const HEALTH = join(dirname(modules.resolve("grpc-health-check/package.json")), "proto/health/v1/health.proto");

const protos = protoDirectory({
  "bell.proto": `
    syntax = "proto3";
    package bell;
    import "parts.proto";
    service Bell { rpc Ring(Sound) returns (Sound); }
  `,
  "parts.proto": `
    syntax = "proto3";
    package bell;
    message Sound { string text = 1; optional uint64 volume = 2; map<string, string> more = 3; }
  `,
});

/** All that its author writes: one service and its contract. */
const bell = {
  name: "bell",
  mixins: [grpc({ proto: protos.path("bell.proto"), service: "bell.Bell" })],
  actions: {
    ring: {
      rest: "POST /v1/bells/{text}:ring",
      handler: ({ params }: { params: Message }) => ({ ...params, text: `${String(params["text"])}!` }),
    },
  },
} as unknown as ServiceSchema;

async function ringByRest({ http }: TestNode): Promise<number> {
  const response = await fetch(`${http}/v1/bells/ding:ring`, { method: "POST" });
  if (response.ok) expect(await response.json()).toEqual({ text: "ding!" });
  else await response.text();
  return response.status;
}

async function ask(client: TestClient, request: Message): Promise<Message> {
  const stream = client.bidi("ServerReflectionInfo");
  stream.write(request);
  const [answer] = (await once(stream, "data")) as [Message];
  stream.end();
  return answer;
}

async function reflectedServices({ grpc }: TestNode, version = "v1"): Promise<string[]> {
  const client = new TestClient(
    join(REFLECTION, version, "reflection.proto"),
    `grpc.reflection.${version}.ServerReflection`,
    grpc,
  );
  const answer = (await ask(client, { list_services: "*" })) as unknown as {
    list_services_response: { service: { name: string }[] };
  };
  client.close();
  return answer.list_services_response.service.map(({ name }) => name);
}

async function health({ grpc }: TestNode, service: string): Promise<unknown> {
  const client = new TestClient(HEALTH, "grpc.health.v1.Health", grpc);
  const answer = await client.unary("Check", { service }).then(
    ({ message }) => message["status"],
    (error: { code: number }) => error.code,
  );
  client.close();
  return answer;
}

function bellClient({ grpc }: TestNode): TestClient {
  return new TestClient(protos.path("bell.proto"), "bell.Bell", grpc);
}

afterAll(() => protos.remove());

describe("a service that one file adds", () => {
  let node: TestNode;
  let client: TestClient;

  beforeAll(async () => {
    node = await startNode({ services: [gateway] });
    client = bellClient(node);
  });

  afterAll(async () => {
    client.close();
    await node.stop();
  });

  test("is not there before it joins", async () => {
    expect(await ringByRest(node)).toBe(404);
    await expect(client.unary("Ring", {})).rejects.toMatchObject({ code: status.UNIMPLEMENTED });
    expect(await reflectedServices(node)).toEqual([]);
    expect(await health(node, "bell.Bell")).toBe(status.NOT_FOUND);
    expect(await health(node, "")).toBe("SERVING");
  });

  test("is in REST, gRPC, reflection and health once it has joined", async () => {
    node.broker.createService(bell);
    await waitFor(async () => (await ringByRest(node)) === 200);
    expect(await client.unary("Ring", { text: "dong" })).toMatchObject({ message: { text: "dong!" } });
    expect(await reflectedServices(node)).toEqual(["bell.Bell"]);
    expect(await reflectedServices(node, "v1alpha")).toEqual(["bell.Bell"]);
    expect(await health(node, "bell.Bell")).toBe("SERVING");
  });

  test("is described by reflection file by file, with imports, presence and maps", async () => {
    const name = "grpc.reflection.v1.ServerReflection";
    const reflection = new TestClient(join(REFLECTION, "v1/reflection.proto"), name, node.grpc);
    const answer = (await ask(reflection, { file_containing_symbol: "bell.Bell" })) as unknown as {
      file_descriptor_response: { file_descriptor_proto: Buffer[] };
    };
    reflection.close();
    const type = descriptor.FileDescriptorProto;
    const files = answer.file_descriptor_response.file_descriptor_proto.map((bytes) =>
      type.toObject(type.decode(bytes), { enums: String }),
    );
    expect(files).toMatchObject([
      { name: "bell.proto", package: "bell", dependency: ["parts.proto"], syntax: "proto3" },
      {
        name: "parts.proto",
        messageType: [
          {
            name: "Sound",
            field: [
              { name: "text", type: "TYPE_STRING" },
              { name: "volume", type: "TYPE_UINT64", proto3Optional: true, oneofIndex: 0 },
              { name: "more", type: "TYPE_MESSAGE", typeName: ".bell.Sound.MoreEntry", label: "LABEL_REPEATED" },
            ],
            nestedType: [{ name: "MoreEntry", options: { mapEntry: true } }],
          },
        ],
      },
    ]);
  });

  test("is UNAVAILABLE, not unknown, when it has left", async () => {
    const service = node.broker.getLocalService("bell");
    await node.broker.destroyService(service);
    await waitFor(async () => (await health(node, "bell.Bell")) === "NOT_SERVING");
    await expect(client.unary("Ring", {})).rejects.toMatchObject({ code: status.UNAVAILABLE });
    expect(await ringByRest(node)).toBe(503);
    expect(await health(node, "")).toBe("SERVING");
  });

  test("comes back with a changed contract", async () => {
    const changed = protoDirectory({
      "bell.proto": `
        syntax = "proto3";
        package bell;
        service Bell { rpc Ring(Sound) returns (Sound); rpc Mute(Sound) returns (Sound); }
        message Sound { string text = 1; uint32 pitch = 9; }
      `,
    });
    node.broker.createService({
      name: "bell",
      mixins: [grpc({ proto: changed.path("bell.proto"), service: "bell.Bell", methods: { Mute: "ring" } })],
      actions: { ring: ({ params }: { params: Message }) => params },
    } as unknown as ServiceSchema);
    const newer = new TestClient(changed.path("bell.proto"), "bell.Bell", node.grpc);
    const { message } = await waitFor(() => newer.unary("Mute", { pitch: 4 }).catch(() => undefined));
    expect(message).toMatchObject({ pitch: 4 });
    newer.close();
    changed.remove();
  });
});

describe("a declaration that does not fit", () => {
  test.each([
    ["a file that is not there", { proto: "nowhere.proto", service: "a.B" }, /nowhere\.proto: no such file/],
    [
      "a service that is not in the file",
      { proto: protos.path("bell.proto"), service: "bell.Gong" },
      /no service bell\.Gong/,
    ],
    [
      "an RPC that the service has not",
      { proto: protos.path("bell.proto"), service: "bell.Bell", methods: { Sing: "ring" } },
      /bell\.Bell has no RPC Sing/,
    ],
    [
      "an action that the service has not",
      { proto: protos.path("bell.proto"), service: "bell.Bell", methods: { Ring: "toll" } },
      /Ring: late has no action toll/,
    ],
    [
      "a stream mode that is not the RPC's",
      {
        proto: protos.path("bell.proto"),
        service: "bell.Bell",
        methods: { Ring: { action: "ring", stream: "each" as const } },
      },
      /stream mode each does not fit/,
    ],
  ])("names %s when the service is made", async (_, declaration, problem) => {
    const node = await startNode({ services: [] });
    const late = {
      name: "late",
      mixins: [grpc(declaration)],
      actions: { ring: () => ({}) },
    } as unknown as ServiceSchema;
    expect(() => node.broker.createService(late)).toThrow(problem);
    await node.stop();
  });
});

describe("a port that is in use", () => {
  test.each(["httpPort", "grpcPort"] as const)("fails the start, naming the variable: %s", async (setting) => {
    const first = await startNode({ services: [gateway] });
    const taken = Number((setting === "httpPort" ? first.http : first.grpc).split(":").at(-1));
    const variable = setting === "httpPort" ? "HTTP_PORT" : "GRPC_PORT";
    await expect(startNode({ services: [gateway], config: { [setting]: taken } })).rejects.toMatchObject({
      type: "FAILED_PRECONDITION",
      message: `${variable} ${taken} is in use`,
    });
    await first.stop();
  });
});

describeWith("nats", "a service on another node", () => {
  test("is found without its files, and is UNAVAILABLE when its node has gone", async () => {
    const config = {
      natsUrl: serverUrl("nats"),
      mongodbUri: "mongodb://unused.invalid/",
      namespace: `gateway-${process.pid}-${Date.now()}`,
    };
    const front = await startNode({ services: [gateway], config });
    const back = await startNode({ services: [bell], config });
    const client = bellClient(front);
    await waitFor(async () => (await ringByRest(front)) === 200);
    const order = { text: "far", volume: "18446744073709551615", more: { a: "b" } };
    expect((await client.unary("Ring", order)).message).toMatchObject({ ...order, text: "far!" });
    expect(await reflectedServices(front)).toEqual(["bell.Bell"]);
    await back.stop();
    await waitFor(async () => (await ringByRest(front)) === 503);
    await expect(client.unary("Ring", {})).rejects.toMatchObject({ code: status.UNAVAILABLE });
    client.close();
    await front.stop();
  });
});
