import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import { describeDsn, parseDsn } from "../../../../lib/databases/dsn.ts";
import { LongshoreError } from "../../../../lib/errors.ts";

function refusalOf(dsn: string): LongshoreError {
  try {
    parseDsn(dsn);
  } catch (error) {
    return error as LongshoreError;
  }
  throw new Error("it was taken");
}

describe("the address of a database", () => {
  test.each([
    ["mysql://u:p@db/shop", { dialect: "mysql", host: "db", port: 3306, database: "shop", tls: "disable" }],
    ["mariadb://u:p@db:33/shop", { dialect: "mariadb", host: "db", port: 33 }],
    [
      "postgres://u:p@[::1]/shop?sslmode=verify-full",
      { dialect: "postgresql", host: "::1", port: 5432, tls: "verify-full" },
    ],
    ["postgresql://u:p@db/shop?sslmode=require", { dialect: "postgresql", tls: "require" }],
    ["mysql://u:p@db?ssl-mode=VERIFY_IDENTITY", { tls: "verify-full" }],
    ["mysql://u:p@db?tls=true", { tls: "verify-full" }],
    ["mysql://u@db", { user: "u", password: "" }],
    ["mysql://u:p%40%2F%3A@db/a%20b", { password: "p@/:", database: "a b" }],
    ["mysql://u:p@ss:word@db", { user: "u", password: "p@ss:word", host: "db" }],
    ["sqlite:/data/a.db", { dialect: "sqlite", path: "/data/a.db" }],
    ["sqlite:///data/a%20b.db", { dialect: "sqlite", path: "/data/a b.db" }],
    [
      "mongodb://a,b:27018/x?replicaSet=rs0&tls=true&authSource=admin",
      { replicaSet: "rs0", tls: "verify-full", authSource: "admin" },
    ],
    ["mongodb://u:p@a/x?tls=true&tlsInsecure=true", { user: "u", tls: "require" }],
  ])("%s", (dsn, expected) => expect(parseDsn(dsn)).toMatchObject(expected));

  test("of MongoDB may name several hosts", () => {
    const hosts = [
      { host: "a", port: 27_017 },
      { host: "b", port: 27_018 },
    ];
    expect(parseDsn("mongodb://a,b:27018")).toEqual({ dialect: "mongodb", hosts, tls: "disable" });
  });

  test.each([
    ["", "must begin with"],
    ["oracle://u:secret@db", "must begin with"],
    ["mongodb+srv://u:secret@db", "not supported"],
    ["mysql:u:secret@db", "must be like"],
    ["mysql://u:secret@", "must be like"],
    ["mysql://u:secret", "no user"],
    ["mysql://db", "no user"],
    ["mysql://:secret@db", "no user"],
    ["mysql://u:secret%@db", "the password is not percent-encoded"],
    ["mysql://u:secret@db:99999", "host is not like"],
    ["mysql://u:secret@a,b", "one host"],
    ["mysql://u:secret@db?socketPath=/tmp/x", "the parameter socketPath is not supported"],
    ["mysql://u:secret@db?ssl-mode=PREFERRED", "ssl-mode must be"],
    ["postgres://u:secret@db?sslmode=disable&tls=true", "sslmode must be"],
    ["postgres://u:secret@db?sslmode=require&sslmode=disable", "twice"],
    ["postgres://u:x?secret@db", "no user"],
    ["mongodb://u:secret@db?authMechanism=MONGODB-AWS", "authMechanism must be"],
    ["sqlite:relative.db", "must be like"],
    ["sqlite:/a.db?mode=rw", "no parameters"],
  ])("%j is refused", (dsn, problem) => {
    const refusal = refusalOf(dsn);
    expect(refusal).toMatchObject({ type: "INVALID_ARGUMENT", data: { field: "dsn" } });
    expect(refusal.message).toContain(problem);
    expect(refusal.message).not.toContain("secret");
  });

  test("keeps any user, password and database", () => {
    fc.assert(
      fc.property(fc.string({ minLength: 1 }), fc.string(), fc.string({ minLength: 1 }), (user, password, database) => {
        const [encodedUser, encodedPassword, encodedDatabase] = [user, password, database].map(encodeURIComponent);
        const source = parseDsn(`mysql://${encodedUser}:${encodedPassword}@db/${encodedDatabase}`);
        expect(source).toMatchObject({ user, password, database });
      }),
    );
  });

  test("shows no password, whatever is wrong with it", () => {
    const tail = fc.string({ unit: "grapheme" });
    fc.assert(
      fc.property(fc.constantFrom("mysql", "postgres", "mongodb"), tail, tail, (scheme, before, after) => {
        const secret = "S3CR3T";
        try {
          expect(describeDsn(parseDsn(`${scheme}://user:${before}${secret}@db${after}`))).not.toContain(secret);
        } catch (error) {
          if (!(error instanceof LongshoreError)) throw error;
          expect(error.message).not.toContain(secret);
        }
      }),
    );
  });

  test("is described with who, where and what", () => {
    expect(describeDsn(parseDsn("mariadb://me:secret@[::1]:33/shop?tls=true"))).toBe("mariadb://me@[::1]:33/shop");
    expect(describeDsn(parseDsn("mongodb://a,b:1"))).toBe("mongodb://a:27017,b:1");
    expect(describeDsn(parseDsn("sqlite:/a.db"))).toBe("sqlite:/a.db");
  });
});
