/** Records against a plain model, and writes at the same time from several nodes. */
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import fc from "fast-check";
import { SaasClient, bitmap } from "../saas-client.ts";
import type { RandomWrite } from "../saas-model.ts";
import { SpaceModel, USERS, columnsOf, lineOf, randomWrite, regionsOf } from "../saas-model.ts";
import { createAndUpload, ended, load, taskOf } from "../saas-tasks.ts";
import type { Cluster } from "../topologies.ts";
import { onEveryTopology } from "../topologies.ts";

/** Small, so that lines cross blocks. */
const BLOCK = 100;

const users = Array.from({ length: USERS }, (_, user) => `user ${user}`);

/** What all users have when all of it was written in this order. */
function stateAfter(order: readonly { write: Parameters<SpaceModel["write"]>[0]; column: boolean }[]) {
  const model = new SpaceModel();
  for (const { write, column } of order) {
    if (column) model.writeColumns(write);
    else model.write(write);
  }
  return users.map((_, user) => model.read(user));
}

const command = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant("write" as const),
      writes: fc.array(randomWrite, { minLength: 1, maxLength: 4 }),
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("column" as const), write: randomWrite }) },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("load" as const),
      writes: fc.array(randomWrite, { minLength: 1, maxLength: 4 }),
    }),
  },
);

/** What a load does with such writes: none clears. */
const loaded = (writes: readonly RandomWrite[]) => writes.map((write) => ({ ...write, clear: false }));

onEveryTopology("saas: records", (start) => {
  let cluster: Cluster;
  let clients: SaasClient[];
  let spaces = 0;

  beforeAll(async () => {
    cluster = await start({ saasDemo: true, saasBlockMin: BLOCK });
    clients = cluster.gateways.map(({ http }) => new SaasClient(http));
  });

  afterAll(() => cluster?.stop());

  const createSpace = async () => {
    const dataspace = `space-${(spaces += 1)}`;
    const { broker } = cluster.gateways[0];
    await broker.call("saas.createDataspace", { dataspace, account: "2000", kind: "did" });
    return dataspace;
  };

  test("hold what a plain model holds, whatever is written", async () => {
    const run = async (commands: (typeof command extends fc.Arbitrary<infer T> ? T : never)[]) => {
      const space = await createSpace();
      const model = new SpaceModel();
      for (const [index, one] of commands.entries()) {
        const client = clients[index % clients.length]!;
        if (one.kind === "column") {
          await writeColumns(client, space, one.write);
          model.writeColumns(one.write);
        } else if (one.kind === "load") {
          expect(await load(client, taskOfWrites(space, one.writes))).toMatchObject({ status: "SUCCESS", reason: "" });
          for (const write of loaded(one.writes)) model.write(write);
        } else {
          // One request clears for all of its items or for none.
          const clear = one.writes[0]!.clear;
          const items = one.writes.map((write) => ({ userid: users[write.user]!, ...regionsOf(write) }));
          expect(await client.write(space, items, { is_clear_all_first: clear })).toEqual([]);
          for (const write of one.writes) model.write({ ...write, clear });
        }
        const found = await clients[(index + 1) % clients.length]!.read(space, users);
        expect(found.map(columnsOf)).toEqual(users.map((_, user) => model.read(user)));
      }
    };
    await fc.assert(fc.asyncProperty(fc.array(command, { minLength: 1, maxLength: 6 }), run), { numRuns: 25 });
  });

  test("end as after some order of what was written at the same time", async () => {
    const rounds = fc.array(fc.record({ write: randomWrite, column: fc.boolean() }), { minLength: 2, maxLength: 5 });
    await fc.assert(
      fc.asyncProperty(rounds, async (writes) => {
        const space = await createSpace();
        await Promise.all(
          writes.map(({ write, column }, index) => {
            const client = clients[index % clients.length]!;
            if (column) return writeColumns(client, space, write);
            const item = { userid: users[write.user]!, ...regionsOf(write) };
            return client.write(space, [item], { is_clear_all_first: write.clear });
          }),
        );
        const found = (await clients[0]!.read(space, users)).map(columnsOf);
        const possible = orders(writes).some((order) => {
          return JSON.stringify(stateAfter(order)) === JSON.stringify(found);
        });
        expect(possible).toBe(true);
      }),
      { numRuns: 25 },
    );
  });

  test("end as after some order of what was written and loaded at the same time", async () => {
    const writes = fc.array(fc.record({ write: randomWrite, column: fc.boolean() }), { minLength: 1, maxLength: 3 });
    const lines = fc.array(randomWrite, { minLength: 1, maxLength: 3 });
    await fc.assert(
      fc.asyncProperty(writes, lines, async (others, loads) => {
        const space = await createSpace();
        const task = taskOfWrites(space, loads);
        const { task_sha256 } = task.task;
        await createAndUpload(clients[0]!, task);
        const [, ...done] = await Promise.all([
          clients.at(-1)!.post("/saas/task/run", { task_run: { task_sha256 } }),
          ...others.map(async ({ write, column }, index) => {
            const client = clients[index % clients.length]!;
            if (!column) {
              const item = { userid: users[write.user]!, ...regionsOf(write) };
              await client.write(space, [item], { is_clear_all_first: write.clear });
              return true;
            }
            // Refused while the load runs.
            const column_write = { dataspace_id: space, is_clear_all_first: write.clear, ...regionsOf(write) };
            return (await client.post("/saas/column_write", { column_write })).code === "SUCC";
          }),
        ]);
        expect(await ended(clients[0]!, task_sha256)).toMatchObject({ status: "SUCCESS" });
        const found = (await clients[0]!.read(space, users)).map(columnsOf);
        const steps = [
          ...loaded(loads).map((write, line) => ({ write, column: false, line })),
          ...others.filter((_, index) => done[index]).map((other) => ({ ...other, line: -1 })),
        ];
        const possible = orders(steps).some((order) => {
          const places = order.map(({ line }) => line).filter((line) => line >= 0);
          // A load applies its lines in their order; what else is written may come in between.
          if (places.some((line, index) => line !== index)) return false;
          return JSON.stringify(stateAfter(order)) === JSON.stringify(found);
        });
        expect(possible).toBe(true);
      }),
      { numRuns: 6 },
    );
  });

  test("lose no write of many to one user from several nodes", async () => {
    const space = await createSpace();
    const columns = Array.from({ length: 128 }, (_, column) => column);
    const write = (column: number) => {
      const index = column < 64 ? { index_1: bitmap([column]) } : { index_2: bitmap([column - 64]) };
      const item = { userid: "one", write_bytes: { bytes: Buffer.from([column + 1]), ...index } };
      return clients[column % clients.length]!.write(space, [item]);
    };
    await Promise.all(columns.map(write));
    const [found] = await clients[0]!.read(space, ["one"]);
    expect([...found!.bytes]).toEqual(columns.map((column) => column + 1));
  });
});

function taskOfWrites(space: string, writes: readonly RandomWrite[]) {
  return taskOf(space, { a: writes.map((write) => lineOf(users[write.user]!, write)).join("") }, BLOCK);
}

async function writeColumns(client: SaasClient, space: string, write: RandomWrite): Promise<void> {
  const { clear, bytes, uint32s, flags } = write;
  // What names no column is refused.
  if (!clear && bytes.size + uint32s.size + flags.size === 0) return;
  await client.writeColumns(space, { is_clear_all_first: clear, ...regionsOf(write) });
}

function orders<T>(items: readonly T[]): T[][] {
  if (items.length === 0) return [[]];
  return items.flatMap((item, index) => orders(items.toSpliced(index, 1)).map((rest) => [item, ...rest]));
}
