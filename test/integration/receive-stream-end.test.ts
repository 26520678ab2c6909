/** What becomes of the tasks of a receive stream, by how it ended. */
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { startNode, type TestNode } from "../node.ts";

let node: TestNode;
beforeAll(async () => {
  node = await startNode({ services: ["queues"] });
});
afterAll(() => node.stop());

type View = { State: string; RetryCount: string; ID: string };
let streams = 0;
/** The number of a receive on its stream. */
const CALL = 3;

/** Creates a task and takes it, as a receive stream of the gateway does. */
async function taken(Channel: string): Promise<{ id: string; stream: string }> {
  const stream = `stream-${++streams}`;
  await node.broker.call("queues.standard.createTask", { Task: { Channel } });
  const { items } = await node.broker.call<{ items: { Tasks: View }[] }, object>(
    "queues.standard.receiveQueueByChannel",
    { Channel, max: 1 },
    { meta: { stream: { id: stream, call: CALL }, grpc: {} } },
  );
  return { id: items[0]!.Tasks.ID, stream };
}

async function stateAfter({ id, stream }: { id: string; stream: string }, end: object): Promise<string> {
  await node.broker.call("queues.standard.closeReceiveStream", { id: stream, ...end });
  const { Data } = await node.broker.call<{ Data: View }, object>("queues.standard.queryTaskByID", { ID: id });
  return Data.State;
}

test("of one that broke they are others'", async () => {
  expect(await stateAfter(await taken("broke"), { reason: "broken" })).toBe("WAITING");
});

test("of one that failed they stay its worker's", async () => {
  expect(await stateAfter(await taken("failed"), { reason: "failed", underWay: [CALL + 1] })).toBe("PROCEEDING");
});

test("of one that failed they go back where they have not arrived", async () => {
  expect(await stateAfter(await taken("lost"), { reason: "failed", underWay: [CALL] })).toBe("WAITING");
});
