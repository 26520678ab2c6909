/** How the text of an environment variable becomes a value: each reader throws a SettingProblem that says what it must be. */

/** What is wrong with a text; the message goes on where the variable's name ends: "must be …". */
export class SettingProblem extends Error {}

export type Read<T> = (text: string) => T;

/** Any text but none. */
export const text: Read<string> = (value) => demand(value.trim() !== "", "must not be empty", value.trim());

export const flag: Read<boolean> = (value) =>
  demand(value === "true" || value === "false", "must be true or false", value === "true");

/** A whole number, both bounds included. */
export function integer(min: number, max: number): Read<number> {
  return (value) => {
    const number = Number(value);
    const fits = /^\d{1,15}$/.test(value) && number >= min && number <= max;
    return demand(fits, `must be a whole number from ${min} to ${max}`, number);
  };
}

/** Whole seconds, read as milliseconds. */
export function seconds(min: number, max: number): Read<number> {
  const read = integer(min, max);
  return (value) => read(value) * 1000;
}

export function oneOf<const T extends string>(...values: T[]): Read<T> {
  return (value) => demand(values.includes(value as T), `must be one of ${values.join(", ")}`, value as T);
}

/** A secret too long to be guessed. */
export const secret: Read<string> = (value) => demand(value.length >= 32, "must be at least 32 characters", value);

/** A name that becomes part of NATS subjects, where a dot, a space or a wildcard would mean something else. */
export const subjectToken: Read<string> = (value) =>
  demand(/^[A-Za-z0-9_-]{1,100}$/.test(value), "must hold letters, digits, - and _ only, at most 100", value);

/** Names separated by commas. */
export const nameList: Read<string[]> = (value) => {
  const names = value.split(",").map((name) => name.trim());
  return demand(!names.includes(""), "must be names separated by commas", names);
};

export const httpUrl: Read<string> = (value) =>
  demand(isUrl(value, /^https?:\/\//), "must be a URL that begins with http:// or https://", value);

export const natsUrls: Read<string> = (value) => {
  const all = value.split(",").every((url) => isUrl(url, /^(nats|tls):\/\//));
  return demand(all, "must be URLs that begin with nats:// or tls://, separated by commas", value);
};

/** The driver reads the rest: a list of hosts is no URL. */
export const mongodbUri: Read<string> = (value) =>
  demand(/^mongodb(\+srv)?:\/\/./.test(value), "must begin with mongodb:// or mongodb+srv://", value);

function isUrl(value: string, scheme: RegExp): boolean {
  return scheme.test(value) && URL.canParse(value);
}

function demand<T>(fits: boolean, problem: string, value: T): T {
  if (!fits) throw new SettingProblem(problem);
  return value;
}
