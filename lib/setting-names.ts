/** Finds variables in the environment that look like settings of ours and are none: typing errors, old names. */
import { SETTINGS } from "./settings.ts";

const KNOWN = new Set<string>(Object.values(SETTINGS).map((setting) => setting.variable));

/** A name that begins so is meant for us. */
const OURS = [
  "HTTP_",
  "GRPC_",
  "NATS_",
  "MONGODB_",
  "S3_",
  "EXPORT_",
  "UPLOAD_",
  "PROGRESS_",
  "DATASOURCES_",
  "QUEUES_",
  "SAAS_",
  "LONGSHORE_",
];

/**
 * What others put under the same first words: proxies, grpc's own switches, and the addresses that Docker and Kubernetes
 * set for a container or service that is called `nats` or `mongodb`.
 */
const OTHERS = [
  /^HTTP_PROXY$/,
  /^GRPC_(VERBOSITY|TRACE|DEFAULT_SSL_ROOTS_FILE_PATH|SSL_CIPHER_SUITES|DNS_RESOLVER|PROXY_EXP)$/,
  /^GRPC_(NODE|EXPERIMENTAL|XDS|GO|PYTHON|ENABLE)_/,
  /_SERVICE_(HOST|PORT)(_|$)/,
  /_PORT_\d+_(TCP|UDP)(_|$)/,
];

/** One sentence for each variable that means to be a setting and is none, with the setting it resembles. */
export function foreignNames(env: Record<string, string | undefined>): string[] {
  const problems: string[] = [];
  for (const [name, value] of Object.entries(env)) {
    if (value === undefined || KNOWN.has(name) || OTHERS.some((pattern) => pattern.test(name))) continue;
    if (/_PORT$/.test(name) && /^(tcp|udp):\/\//.test(value)) continue;
    const like = nearest(name, KNOWN);
    if (OURS.some((prefix) => name.startsWith(prefix)) || isSlip(name, like)) {
      problems.push(
        `${name} is not a setting${like ? `: did you mean ${like.name}?` : "; npm run config lists them all"}`,
      );
    }
  }
  return problems;
}

interface Likeness {
  name: string;
  distance: number;
}

/** The name that is fewest keystrokes away from `wrong`; none where all are far. */
export function nearest(wrong: string, names: Iterable<string>): Likeness | undefined {
  let best: Likeness | undefined;
  for (const name of names) {
    const distance = keystrokes(wrong, name);
    if (distance <= Math.max(2, name.length / 3) && (!best || distance < best.distance)) best = { name, distance };
  }
  return best;
}

/**
 * LOG_LEVLE is a slip for LOG_LEVEL. Short names and other first words are left alone: NODE_IP and HTTPS_PORT mean
 * something to others.
 */
function isSlip(name: string, like: Likeness | undefined): boolean {
  if (like?.distance !== 1 || name.length < 8) return false;
  return name.includes("_") && name.split("_")[0] === like.name.split("_")[0];
}

/** Damerau-Levenshtein distance: insertions, deletions, replacements and swapped neighbours. */
function keystrokes(a: string, b: string): number {
  let before: number[] = [];
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = previous[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      let cost = Math.min(previous[j]! + 1, row[j - 1]! + 1, replaced);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) cost = Math.min(cost, before[j - 2]! + 1);
      row.push(cost);
    }
    before = previous;
    previous = row;
  }
  return previous[b.length]!;
}
