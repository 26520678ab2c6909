/**
 * `npm run --silent seal < file`: seals what standard input holds, a DSN, with the first of ENCRYPTION_KEYS (SIGNING_KEY
 * where there are none), for the `dsn` of a data source in DATASOURCES_FILE. A text that is sealed already is sealed anew,
 * so that a key can be taken out of use. It is read from standard input, for what a command line holds others can see.
 */
import { text } from "node:stream/consumers";
import { loadConfig } from "../lib/config.ts";
import { encryptionKeys } from "../lib/encryption-keys.ts";
import { SEALED, seal, unsealWith } from "../lib/sealed.ts";

const keys = await encryptionKeys(loadConfig());
const given = (await text(process.stdin)).trim();
const plain = given.startsWith(SEALED) ? unsealWith(given.slice(SEALED.length), keys) : given;
if (plain === undefined || plain === "") {
  console.error(
    plain === "" ? "standard input holds nothing" : "it was sealed with a key that is not in ENCRYPTION_KEYS",
  );
  process.exitCode = 1;
} else {
  console.log(SEALED + seal(plain, keys[0]!));
}
