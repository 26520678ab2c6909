import { expect, test } from "@jest/globals";
import { once } from "node:events";
import { connect as connectTcp, type Socket } from "node:net";
import { randomUUID } from "node:crypto";
import { MongoClient } from "mongodb";
import { connect as connectNats } from "nats";
import { describeWith, serverUrl } from "../servers.ts";

describeWith("nats", "nats-server", () => {
  test("answers a request that a subscriber of it replies to", async () => {
    const connection = await connectNats({ servers: serverUrl("nats") });
    try {
      connection.subscribe("servers.test", { callback: (_error, message) => message.respond(message.data) });
      const reply = await connection.request("servers.test", "hello", { timeout: 5_000 });
      expect(reply.string()).toBe("hello");
    } finally {
      await connection.close();
    }
  });
});

describeWith("mongodb", "mongod", () => {
  test("takes a majority write and shows it to a transaction", async () => {
    const client = new MongoClient(serverUrl("mongodb"), { serverSelectionTimeoutMS: 5_000 });
    const database = client.db(`servers-test-${randomUUID()}`);
    try {
      const documents = database.collection<{ _id: number }>("documents");
      await documents.insertOne({ _id: 1 }, { writeConcern: { w: "majority", journal: true } });
      const found = await client.withSession((session) =>
        session.withTransaction(() => documents.findOne({ _id: 1 }, { session })),
      );
      expect(found).toEqual({ _id: 1 });
    } finally {
      await database.dropDatabase();
      await client.close();
    }
  });
});

describeWith("mariadb", "mariadbd", () => {
  test("greets with its protocol and version", async () => {
    await withSocket(serverUrl("mariadb"), async (socket) => {
      const greeting = await firstBytes(socket);
      expect(greeting[4]).toBe(10);
      expect(greeting.toString("latin1")).toContain("MariaDB");
    });
  });
});

describeWith("postgres", "postgres", () => {
  test("asks the user longshore for a password", async () => {
    await withSocket(serverUrl("postgres"), async (socket) => {
      const parameters = Buffer.from("user\0longshore\0database\0postgres\0\0");
      const header = Buffer.alloc(8);
      header.writeInt32BE(8 + parameters.length, 0);
      header.writeInt32BE(3 << 16, 4); // protocol 3.0
      socket.write(Buffer.concat([header, parameters]));
      const answer = await firstBytes(socket);
      expect(answer.toString("latin1", 0, 1)).toBe("R");
      expect(answer.toString("latin1")).toContain("SCRAM-SHA-256");
    });
  });
});

async function withSocket(url: string, work: (socket: Socket) => Promise<void>): Promise<void> {
  const { hostname, port } = new URL(url);
  const socket = connectTcp({ host: hostname, port: Number(port) });
  try {
    await work(socket);
  } finally {
    socket.destroy();
  }
}

async function firstBytes(socket: Socket): Promise<Buffer> {
  const [bytes] = (await once(socket, "data", { signal: AbortSignal.timeout(5_000) })) as [Buffer];
  return bytes;
}
