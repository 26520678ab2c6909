import { expect, test } from "@jest/globals";
import type { OperationTask } from "../../../../services/operations/operation.ts";
import { hashOf, operationOf } from "../../../../services/operations/operation.ts";

const task: OperationTask = {
  id: 7,
  hash: "h",
  channel: "mail",
  owner: "0",
  state: "SUCCESS",
  output: "what it came to",
  progress: 100,
  attempts: 1,
  createTime: "2026-01-02T03:04:05.000Z",
  updateTime: "2026-01-02T03:04:06.000Z",
};

test("what a job of ours says to its own service is told nobody, unless that service says how", () => {
  const job = { ...task, channel: "export.callback", internal: true as const };
  expect(operationOf(job).response).toEqual({ type: "longshore.v1.QueueTaskResult", value: { id: 7, output: "" } });
  expect(operationOf({ ...job, state: "PROCEEDING" }).metadata.value["message"]).toBe("");
  const told = operationOf({ ...job, doneUnits: 3 }, { response: { rows: 3 }, message: "m" }, "t.Result");
  expect(told.response).toEqual({ type: "t.Result", value: { rows: 3 } });
  expect(told.metadata.value).toMatchObject({ message: "m", done_units: 3, kind: "export.callback" });
  expect(operationOf(task).response!.value).toEqual({ id: 7, output: "what it came to" });
});

test("exactly one of error and response is there when it is done, and none before", () => {
  for (const state of ["WAITING", "PROCEEDING", "SUCCESS", "FAILURE", "CANCEL"] as const) {
    const { done, error, response } = operationOf({ ...task, state });
    expect([error, response].filter(Boolean)).toHaveLength(done ? 1 : 0);
  }
});

test("a name is operations/ and a HashCode", () => {
  expect(hashOf("operations/a.b~c")).toBe("a.b~c");
  for (const name of ["", "operations", "operations/", "operations/a/b", "tasks/a", "/operations/a", 5, undefined]) {
    expect(() => hashOf(name)).toThrow("name: must be operations/{id}");
  }
});
