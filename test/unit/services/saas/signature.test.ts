import { expect, test } from "@jest/globals";
import { viewError } from "../../../../lib/errors.ts";
import { codeOf } from "../../../../services/saas/refusal.ts";
import { checkSignature, checkTime, credentialsOf, md5Of } from "../../../../services/saas/signature.ts";

const TIME = 1743995833;
const SIGNATURE = "8cc93e93ba55ccd546f1f44f437df04b";
const headers = { account: "2000", time: String(TIME), authorization: SIGNATURE };

function codeFrom(work: () => unknown): string {
  try {
    work();
  } catch (error) {
    return codeOf(viewError(error));
  }
  return "SUCC";
}

test("makes the signature of the public vector", () => {
  expect(md5Of({ account: "2000", time: String(TIME) }, "ABCDEF")).toBe(SIGNATURE);
  const check = (authorization: string) =>
    codeFrom(() => checkSignature(credentialsOf({ ...headers, authorization }), "ABCDEF", "any", undefined));
  expect(check(SIGNATURE)).toBe("SUCC");
  expect(check(SIGNATURE.toUpperCase())).toBe("SUCC");
  expect(check(SIGNATURE.replace("8", "9"))).toBe("AUTH_FAIL");
  expect(check(SIGNATURE.slice(1))).toBe("AUTH_FAIL");
  expect(check("")).toBe("INVALID_SIGNATURE");
});

test("takes times within 30 minutes", () => {
  const check = (now: number, time = String(TIME)) => codeFrom(() => checkTime(credentialsOf({ time }), now));
  expect([TIME, TIME + 1_800, TIME - 1_800].map((now) => check(now))).toEqual(["SUCC", "SUCC", "SUCC"]);
  expect([TIME + 1_801, TIME - 1_801].map((now) => check(now))).toEqual(["INVALID_TIMESTAMP", "INVALID_TIMESTAMP"]);
  for (const time of ["", "-1", "1e9", " 1", "9".repeat(13)]) expect(check(TIME, time)).toBe("INVALID_TIMESTAMP");
});

test("takes no signature of a body where there is none", () => {
  const hmac = credentialsOf({ ...headers, authorization: `HMAC-SHA256 ${"0".repeat(64)}` });
  expect(codeFrom(() => checkSignature(hmac, "ABCDEF", "any", undefined))).toBe("AUTH_FAIL");
});
