import { createHash } from "node:crypto";
import { describe, expect, test } from "@jest/globals";
import { hashKey, parseHttpExport, parseRawExport } from "../../../../services/export/request.ts";
import { readHttpRun, sealRun, unsealRun } from "../../../../services/export/run.ts";

const limits = { maxConn: 32, timestampWindow: 0 };
const now = 1_700_000_000_000;
const good = {
  timestamp: 1_700_000_000,
  ext_type: "XLSX",
  title: "orders",
  user_id: "123",
  callback: "http://example.com/done",
  source_http: { url: "http://example.com/page", method: "GET", header: {}, param: { limit: 20 } },
};

test("a document's request is read, with the defaults of what it leaves out", () => {
  expect(parseHttpExport(good, limits, now)).toEqual({
    title: "orders",
    extType: "XLSX",
    zip: true,
    summary: false,
    userId: "123",
    callback: "http://example.com/done",
    conn: 8,
    source: { url: "http://example.com/page", method: "GET", header: {}, param: { limit: 20 } },
  });
});

test("what older clients send is read too: uid, call_back, a number for the user", () => {
  const { user_id: _user, callback: _callback, ...rest } = good;
  const read = parseHttpExport({ ...rest, uid: 5, call_back: "https://example.com/" }, limits, now);
  expect(read).toMatchObject({ userId: "5", callback: "https://example.com/" });
});

const source = good.source_http;
describe.each([
  [null, "body: must be a JSON object"],
  [[], "body: must be a JSON object"],
  [{ ...good, ext_type: "PDF" }, "ext_type: must be one of XLSX, CSV, CSV_BOM, CSV_GBK, CSV_GB18030, JSONL"],
  [{ ...good, ext_type: undefined }, "ext_type: must be a string"],
  [{ ...good, title: "" }, "title: must not be empty"],
  [{ ...good, title: 5 }, "title: must be a string"],
  [{ ...good, title: "😀".repeat(300) }, "title: must be at most 255 characters"],
  [{ ...good, title: "a\nb" }, "title: must hold no control character"],
  [{ ...good, user_id: undefined }, "user_id: must be given"],
  [{ ...good, user_id: {} }, "user_id: must be a string"],
  [{ ...good, callback: "ftp://example.com" }, "callback: must begin with http:// or https://"],
  [{ ...good, timestamp: "soon" }, "timestamp: must be Unix seconds"],
  [{ ...good, zip: "no" }, "zip: must be true or false"],
  [{ ...good, conn: 10_000 }, "conn: must be 1 to 32"],
  [{ ...good, conn: 0 }, "conn: must be 1 to 32"],
  [{ ...good, conn: "8" }, "conn: must be a whole number"],
  [{ ...good, source_http: undefined }, "source_http: must be an object with url"],
  [
    { ...good, source_http: { ...source, url: "file:///etc/passwd" } },
    "source_http.url: must begin with http:// or https://",
  ],
  [{ ...good, source_http: { ...source, method: "DELETE" } }, "source_http.method: must be GET or POST"],
  [
    { ...good, source_http: { ...source, header: { "a b": "c" } } },
    "source_http.header.a b: is not a header that HTTP can carry",
  ],
  [
    { ...good, source_http: { ...source, header: { a: "b\r\nc: d" } } },
    "source_http.header.a: is not a header that HTTP can carry",
  ],
  [{ ...good, source_http: { ...source, header: { a: {} } } }, "source_http.header.a: must be a string"],
  [{ ...good, title: "😀".repeat(300) }, "title: must be at most 255 characters"],
  [{ ...good, password: "short" }, "password: must be 8 to 99 characters of ASCII"],
  [{ ...good, password: "密码密码密码密码" }, "password: must be 8 to 99 characters of ASCII"],
  [{ ...good, password: "x".repeat(100) }, "password: must be 8 to 99 characters of ASCII"],
  [{ ...good, password: 12345678 }, "password: must be a string"],
  [{ ...good, password: "long enough", zip: false }, "password: needs a zip"],
  [{ ...good, summary: "yes" }, "summary: must be true or false"],
  [{ ...good, summary: true, ext_type: "CSV" }, "summary: needs the ext_type XLSX"],
  [{ ...good, source_http: { ...source, param: 5 } }, "source_http.param: must be an object"],
])("a request", (body, message) => {
  test(`is refused with "${message}"`, () => {
    expect(() => parseHttpExport(body, limits, now)).toThrow(message);
  });
});

test("the timestamp must be near now where the configuration says so", () => {
  const strict = { ...limits, timestampWindow: 300_000 };
  expect(parseHttpExport({ ...good, timestamp: 1_700_000_300 }, strict, now).title).toBe("orders");
  expect(() => parseHttpExport({ ...good, timestamp: 1_700_000_301 }, strict, now)).toThrow(
    "timestamp: must be within 300 seconds of now",
  );
  expect(() => parseHttpExport({ ...good, timestamp: undefined }, strict, now)).toThrow("timestamp: must be given");
});

test("rows come as text, which must be there", () => {
  const { source_http: _source, ...rest } = good;
  expect(parseRawExport({ ...rest, source_raw: "[]" }, limits, now).rows).toBe("[]");
  expect(() => parseRawExport(rest, limits, now)).toThrow("source_raw: must be a string");
});

describe("the key of a request", () => {
  const secret = Buffer.from("of the node");

  test("does not depend on the order of its keys, and does on everything else", () => {
    const key = hashKey(good, secret);
    expect(hashKey(Object.fromEntries(Object.entries(good).reverse()), secret)).toBe(key);
    expect(key).toMatch(/^[0-9a-f]{32}$/);
    expect(hashKey({ ...good, timestamp: 1_700_000_001 }, secret)).not.toBe(key);
    expect(hashKey({ a: [1, 2] }, secret)).not.toBe(hashKey({ a: [2, 1] }, secret));
  });

  test("is the MD5 that the document promises, whatever the node; but says nothing of a password to who lacks the secret", () => {
    const other = Buffer.from("of another node");
    const md5 = createHash("md5").update('{"a":1,"b":[true,null]}').digest("hex");
    expect(hashKey({ b: [true, null], a: 1 }, secret)).toBe(md5);
    expect(hashKey(good, other)).toBe(hashKey(good, secret));
    const guarded = { ...good, password: "correct horse" };
    expect(hashKey(guarded, secret)).not.toBe(hashKey({ ...good, password: "battery staple" }, secret));
    expect(hashKey(guarded, secret)).not.toBe(hashKey(guarded, other));
  });

  test("of a body nested without end is refused", () => {
    let body: unknown = 1;
    for (let depth = 0; depth < 100_000; depth += 1) body = [body];
    expect(() => hashKey({ body }, secret)).toThrow("body: must not be nested deeper than 64");
  });
});

describe("what a request keeps secret", () => {
  const secret = Buffer.from("of the node");
  const body = {
    ...good,
    password: "correct horse",
    source_http: { ...source, header: { authorization: "Bearer hunter2" } },
  };

  test("is in the task's input for nobody without the secret, and changes nothing", () => {
    const run = readHttpRun(body, { ...limits, timestampWindow: 0 }, secret);
    const input = sealRun(run, secret);
    expect(input).not.toContain("horse");
    expect(input).not.toContain("hunter2");
    expect(sealRun(run, secret)).not.toBe(input);
    expect(unsealRun({ input }, secret)).toEqual(JSON.parse(JSON.stringify(run)));
    expect(() => unsealRun({ input }, Buffer.from("of another"))).toThrow(/another SIGNING_KEY/);
    const altered = input.replace(/"sealed":"(.)/, (_, first) => `"sealed":"${first === "A" ? "B" : "A"}`);
    expect(altered).not.toBe(input);
    expect(() => unsealRun({ input: altered }, secret)).toThrow(/another SIGNING_KEY/);
  });

  test("costs a request without secrets nothing", () => {
    const run = readHttpRun({ ...good, source_http: { url: source.url } }, { ...limits, timestampWindow: 0 }, secret);
    expect(sealRun(run, secret)).not.toContain("sealed");
    expect(unsealRun({ input: sealRun(run, secret) }, secret)).toEqual(JSON.parse(JSON.stringify(run)));
  });
});
