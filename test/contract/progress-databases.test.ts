/** Data tasks over real databases, as their users meet them: data sources, imports, generated rows, and secrets that stay so. */
import { createHash, randomBytes } from "node:crypto";
import { execFile } from "node:child_process";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { connect } from "nats";
import { Scratch, withMongo } from "../databases.ts";
import type { SpawnedNode } from "../node.ts";
import { spawnNode, startNode } from "../node.ts";
import { ProgressClient, exportOf } from "../progress-client.ts";
import { describeWith, serverUrl } from "../servers.ts";
import { ownDatabase } from "../topologies.ts";
import { UploadClient } from "../upload-client.ts";
import { waitFor } from "../wait-for.ts";

const run = promisify(execFile);

describeWith(["postgres", "mariadb", "mongodb", "nats"], "data tasks over databases", () => {
  const postgres = new Scratch("postgres");
  const mariadb = new Scratch("mariadb");
  let node: SpawnedNode;
  let client: ProgressClient;
  let uploads: UploadClient;
  let directory: string;
  let data: string;
  const password = `pw-${randomBytes(12).toString("hex")}`;

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "longshore-progress-"));
    data = join(directory, "data");
    const sources = join(directory, "sources.json");
    await postgres.sql("CREATE TABLE people (id int PRIMARY KEY, name text, phone text, born date)");
    await postgres.sql(
      "INSERT INTO people SELECT n, 'name ' || n, '1380000' || n, DATE '2000-01-01' + n FROM generate_series(1, 50) n",
    );
    await postgres.sql("ANALYZE people");
    await mariadb.sql(
      "CREATE TABLE people (id int PRIMARY KEY, name varchar(20) NOT NULL, phone varchar(20), born date)",
    );
    const dsn = postgres.dsn;
    await writeFile(
      sources,
      JSON.stringify({
        crm: {
          dsn,
          masks: [
            { column: "*phone*", action: "hash" },
            { column: "people.name", action: "mask" },
          ],
          watermark: true,
        },
        closed: { dsn, masks: [{ column: "phone", action: "refuse" }], statements: true },
        small: { dsn, maxRows: 10 },
        guarded: { dsn, approval: "any", approvers: ["ann"], approvalRows: 20 },
      }),
    );
    node = await spawnNode({ DATA_DIR: data, DATASOURCES_FILE: sources, LOG_LEVEL: "trace", LOG_FORMAT: "json" });
    client = new ProgressClient(node.http);
    uploads = new UploadClient(node.http);
  });
  afterAll(async () => {
    await node?.stop();
    await rm(directory, { recursive: true, force: true });
  });

  const tables = (dsn: string, option: object[], detail: object = {}) => ({
    name: "people",
    kind: "TASK_KIND_DATA_EXPORT",
    dsn,
    ded: { eatt: { option }, ...detail },
  });
  const people = [{ table: "people", allField: true, filter: "id <= 2" }];
  const download = async (url: string) => (await fetch(url)).text();

  test("a data source masks columns, signs its files, and shows no DSN", async () => {
    const detail = await client.run(tables("datasource:crm", people));
    expect(detail).toMatchObject({ dsn: "datasource:crm", rows: "2" });
    const lines = (await download(detail.url)).trimEnd().split("\r\n");
    expect(lines[0]).toBe("id,name,phone,born");
    expect(lines[1]).toMatch(/^1,n\*+1,[0-9a-f]{16},2000-01-02$/);
    expect(lines[2]).not.toContain(lines[1]!.split(",")[2]!);
    expect(lines.at(-1)).toContain(`task ${detail.taskId}`);
  });

  test("a data source that masks takes no statement, which could rename a column", async () => {
    const refused = await client.refused(
      "POST",
      "/v1/task/submit",
      exportOf("datasource:crm", "SELECT phone AS p FROM people"),
    );
    expect(refused).toMatchObject({ status: 400, fields: ["ded.ebs"] });
  });

  test("a column that is refused, too many rows and a wrong password end the pre-check with the reason", async () => {
    const closed = await client.run(exportOf("datasource:closed", "SELECT * FROM people"), "PRE_CHECK_FAILED");
    expect(closed.reason).toContain("phone");
    const large = await client.run(exportOf("datasource:small", "SELECT * FROM people"), "PRE_CHECK_FAILED");
    expect(large.reason).toBe("some 50 rows are expected, and 10 are allowed");
  });

  test("approval by estimated rows: few need none, many do", async () => {
    const submit = (limit: number) =>
      exportOf(
        "datasource:guarded",
        `SELECT * FROM people ORDER BY id LIMIT ${limit}`,
        { exportReason: "r" },
        { submitter: "sue" },
      );
    expect((await client.run(submit(3))).rows).toBe("3");
    expect(await client.run(submit(40), "APPROVING")).toMatchObject({ approvers: ["ann"], estimatedRows: "40" });
  });

  test.each([
    ["postgres", () => postgres],
    ["mariadb", () => mariadb],
  ])("no password of %s is in an answer, a log, or anything that is stored", async (_, scratch) => {
    const url = new URL(scratch().dsn);
    url.password = password;
    const detail = await client.run(exportOf(url.href, "SELECT 1"), "PRE_CHECK_FAILED");
    expect(detail.reason).toMatch(/password|denied|authentication/i);
    const good = await client.run(exportOf(scratch().dsn, "SELECT 1 AS one"));
    expect(good.dsn).not.toContain(":longshore@");
    const answers = await Promise.all(
      ["/v1/tasks", "/v1/operations", `/v1/task/detail?taskId=${detail.taskId}`].map((path) =>
        download(node.http + path),
      ),
    );
    expect(answers.join()).toContain(detail.taskId);
    for (const text of [...answers, node.output(), ...(await storedIn(data))]) expect(text).not.toContain(password);
  });

  test("no password is in an event or an answer between nodes, or in a document", async () => {
    const shared = {
      mongodbUri: ownDatabase(),
      natsUrl: serverUrl("nats"),
      namespace: `test-${randomBytes(6).toString("hex")}`,
      signingKey: randomBytes(24).toString("hex"),
      dataDir: join(directory, "shared"),
    };
    const wire = await connect({ servers: shared.natsUrl });
    const packets: { subject: string; text: string }[] = [];
    wire.subscribe(`MOL-${shared.namespace}.>`, {
      callback: (_, { subject, data: bytes }) => {
        packets.push({ subject, text: Buffer.from(bytes).toString("latin1") });
      },
    });
    const gateway = await startNode({ services: ["api-gateway"], config: shared });
    const services = ["queues", "progress", "operations", "upload"];
    const workers = [await startNode({ services, config: shared }), await startNode({ services, config: shared })];
    try {
      const cluster = new ProgressClient(gateway.http);
      await waitFor(async () => (await fetch(`${gateway.http}/v1/tasks`)).status === 200);
      const url = new URL(postgres.dsn);
      url.password = password;
      const { taskId } = await cluster.run(exportOf(url.href, "SELECT 1"), "PRE_CHECK_FAILED");
      // What a client asks travels to the node that answers it, as it must.
      for (const kind of [".EVENT", ".RES"]) {
        await waitFor(() => packets.some(({ subject, text }) => subject.includes(kind) && text.includes(taskId)));
      }
      const told = packets.filter(({ subject }) => !subject.includes(".REQ"));
      expect(packets.some(({ text }) => text.includes(password))).toBe(true);
      for (const { text } of told) expect(text).not.toContain(password);
      await withMongo(shared.mongodbUri, async (mongo) => {
        const collections = await mongo.db().collections();
        const documents = await Promise.all(collections.map((one) => one.find().toArray()));
        expect(JSON.stringify(documents)).toContain(taskId);
        expect(JSON.stringify(documents)).not.toContain(password);
      });
    } finally {
      await Promise.all([gateway, ...workers].map((one) => one.stop()));
      await wire.close();
    }
  });

  test("an export of the one database is imported into the other, and what it does not take is told", async () => {
    const exported = await client.run(tables(postgres.dsn, [{ table: "people", allField: true }]));
    const csv = await download(exported.url);
    // A name that is too long, a row that is there already, one that is no date.
    const broken = `${csv}51,a name of more than twenty characters,1,2000-01-01\r\n1,again,1,2000-01-01\r\n52,x,1,yesterday\r\n`;
    const { key } = await uploads.upload(broken, { name: "people.csv" });
    const request = {
      name: "in",
      kind: "TASK_KIND_DATA_IMPORT",
      dsn: mariadb.dsn,
      did: { table: "people", uploadKey: key },
    };
    const dry = await client.run({ ...request, did: { ...request.did, dryRun: true } });
    expect(dry).toMatchObject({ rows: "50", refused: "3" });
    expect((await mariadb.sql("SELECT count(*) FROM people")).trim()).toBe("0");
    const detail = await client.run(request);
    expect(detail).toMatchObject({ rows: "50", refused: "3", url: "" });
    await waitFor(async () => (await uploads.get(key)).claimedBy === "");
    const report = (await download(detail.reportUrl)).trimEnd().split("\r\n");
    expect(report).toHaveLength(4);
    const sum = (text: string) => createHash("sha256").update(text.trimEnd()).digest("hex");
    const columns = "id, name, phone, born";
    expect(sum(await mariadb.sql(`SELECT ${columns} FROM people ORDER BY id`))).toBe(
      sum(await postgres.sql(`SELECT ${columns} FROM people ORDER BY id`)),
    );
  });

  test("rows are generated into a file, the same for the same seed, and into a table", async () => {
    const columns = JSON.stringify([
      { name: "id", kind: "sequence", start: 1_000 },
      { name: "name", kind: "name" },
    ]);
    const request = { name: "made up", kind: "TASK_KIND_DATA_GENERATE", dgd: { rows: 100, seed: 5, columns } };
    const [one, two] = await Promise.all([client.run(request), client.run(request)]);
    expect(await download(one.url)).toBe(await download(two.url));
    expect(one.rows).toBe("100");
    const into = { ...request, dsn: postgres.dsn, dgd: { ...request.dgd, table: "people" } };
    expect(await client.run(into)).toMatchObject({ rows: "100", url: "" });
    expect((await postgres.sql("SELECT count(*) FROM people WHERE id >= 1000")).trim()).toBe("100");
  });

  test("a DSN is sealed by npm run seal, and opened with a key that was taken out of use for sealing", async () => {
    const first = randomBytes(24).toString("hex");
    const second = randomBytes(24).toString("hex");
    const sealed = await seal(postgres.dsn, { ENCRYPTION_KEYS: first, DATA_DIR: data });
    expect(sealed).toMatch(/^sealed:[\w-]+$/);
    const renewed = await seal(sealed, { ENCRYPTION_KEYS: `${second},${first}`, DATA_DIR: data });
    const sources = join(directory, "sealed.json");
    await writeFile(sources, JSON.stringify({ shop: { dsn: renewed } }));
    const sealedNode = await spawnNode({ DATASOURCES_FILE: sources, ENCRYPTION_KEYS: second });
    try {
      const detail = await new ProgressClient(sealedNode.http).run(exportOf("datasource:shop", "SELECT 1 AS one"));
      expect(detail.rows).toBe("1");
    } finally {
      await sealedNode.stop();
    }
    await expect(spawnNode({ DATASOURCES_FILE: sources, ENCRYPTION_KEYS: first })).rejects.toThrow(
      /shop\.dsn was sealed with a key that is not in ENCRYPTION_KEYS/,
    );
  });
});

async function seal(text: string, env: Record<string, string>): Promise<string> {
  const child = run(process.execPath, [join(import.meta.dirname, "..", "..", "scripts", "seal.ts")], {
    env: { PATH: process.env["PATH"], ...env },
  });
  child.child.stdin!.end(text);
  return (await child).stdout.trim();
}

/** All files of a directory, as text. */
async function storedIn(directory: string): Promise<string[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile());
  return Promise.all(files.map((entry) => readFile(join(entry.parentPath, entry.name), "latin1")));
}
