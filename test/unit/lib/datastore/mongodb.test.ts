import { expect, test } from "@jest/globals";
import { openMongo } from "../../../../lib/datastore/mongodb.ts";

test("names MONGODB_URI and the host, not the password, where nothing answers", async () => {
  const opening = openMongo("mongodb://user:s3cret%21@127.0.0.1:1/database");
  const error: unknown = await opening.catch((thrown: unknown) => thrown);
  expect(error).toMatchObject({ type: "UNAVAILABLE", message: expect.stringMatching(/MONGODB_URI: 127\.0\.0\.1:1/) });
  expect(String(error)).not.toContain("s3cret");
}, 25_000);

test("names MONGODB_URI, not the password, where it is no address", async () => {
  const error: unknown = await openMongo("http://user:s3cret@example.org/").catch((thrown: unknown) => thrown);
  expect(error).toMatchObject({ type: "UNAVAILABLE", message: expect.stringContaining("MONGODB_URI: example.org") });
  expect(String(error)).not.toContain("s3cret");
});
