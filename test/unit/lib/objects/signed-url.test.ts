import { expect, test } from "@jest/globals";
import { signPath, verifyPath } from "../../../../lib/objects/signed-url.ts";

const SECRET = Buffer.from("a secret of the test");
const EXPIRES = new Date("2026-01-01T00:00:00Z");
const BEFORE = EXPIRES.getTime() - 1;

function queryOf(url: string): { expires: string; signature: string } {
  return Object.fromEntries(new URL(url, "http://host").searchParams) as { expires: string; signature: string };
}

test("a signed path is valid until it expires", () => {
  const query = queryOf(signPath("/v1/down/a.zip", EXPIRES, SECRET));
  expect(verifyPath("/v1/down/a.zip", query, SECRET, BEFORE)).toBe("valid");
  expect(verifyPath("/v1/down/a.zip", query, SECRET, EXPIRES.getTime())).toBe("expired");
});

test("another path, expiry, secret or signature is forged", () => {
  const query = queryOf(signPath("/v1/down/a.zip", EXPIRES, SECRET));
  const later = { ...query, expires: String(Number(query.expires) + 1) };
  expect(verifyPath("/v1/down/b.zip", query, SECRET, BEFORE)).toBe("forged");
  expect(verifyPath("/v1/down/a.zip", later, SECRET, BEFORE)).toBe("forged");
  expect(verifyPath("/v1/down/a.zip", query, Buffer.from("another"), BEFORE)).toBe("forged");
  expect(verifyPath("/v1/down/a.zip", { ...query, signature: "" }, SECRET, BEFORE)).toBe("forged");
  expect(verifyPath("/v1/down/a.zip", {}, SECRET, BEFORE)).toBe("forged");
});

test("what a URL says beside its path is signed with it, in whatever order it comes", () => {
  const claims = { method: "PUT", size: "5" };
  const signed = signPath("/v1/objects/a", EXPIRES, SECRET, claims);
  expect(signed).toMatch(/^\/v1\/objects\/a\?method=PUT&size=5&expires=\d+&signature=[\w-]{43}$/);
  const query = queryOf(signed);
  const verify = (path: string, given: Record<string, string>) => verifyPath(path, query, SECRET, BEFORE, given);
  expect(verify("/v1/objects/a", { size: "5", method: "PUT" })).toBe("valid");
  expect(verify("/v1/objects/a", { method: "PUT" })).toBe("forged");
  expect(verify("/v1/objects/a", { method: "PUT", size: "6" })).toBe("forged");
  expect(verify("/v1/objects/a", {})).toBe("forged");
  const smuggled = { ...query, expires: `${query.expires}?method=PUT&size=5` };
  expect(verifyPath("/v1/objects/a", smuggled, SECRET, BEFORE)).toBe("expired");
});
