/** Python's protobuf as a client: nothing of ours is in it. */
import { execFile, spawnSync } from "node:child_process";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { describe, expect, test } from "@jest/globals";
import { startNode } from "../node.ts";
import { SAAS_PROTO } from "../saas-client.ts";
import { withTempDir } from "../temp-dir.ts";

/** Debian's Python, because only it finds Debian's packages. */
const PYTHON = "/usr/bin/python3";
const hasProtobuf = spawnSync(PYTHON, ["-c", "import google.protobuf, grpc_tools"]).status === 0;
const run = promisify(execFile);

(hasProtobuf ? describe : describe.skip)(`saas with Python${hasProtobuf ? "" : " (no protobuf here)"}`, () => {
  test("writes and reads by the public contract", async () => {
    const node = await startNode({ config: { saasDemo: true } });
    try {
      await withTempDir(async (directory) => {
        const proto = ["-m", "grpc_tools.protoc", "-I", dirname(SAAS_PROTO), `--python_out=${directory}`, SAAS_PROTO];
        await run(PYTHON, proto);
        const script = join(import.meta.dirname, "..", "fixtures", "saas_client.py");
        const env = { PATH: process.env.PATH, PYTHONPATH: directory, PYTHONDONTWRITEBYTECODE: "1", NO_PROXY: "*" };
        const { stdout } = await run(PYTHON, [script, node.http], { env });
        expect(JSON.parse(stdout)).toEqual({
          vector: "8cc93e93ba55ccd546f1f44f437df04b",
          codes: [0, 0],
          failed: [""],
          count: 2,
          bytes: [1, 2, 3],
          sizes: [128, 16, 8],
          uint32: 2 ** 32 - 1,
          flag: [true, 4_000_000_000],
          indexes: [0, 1],
          never: 0,
        });
      });
    } finally {
      await node.stop();
    }
  });
});
