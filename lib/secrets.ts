/** Keeps secrets out of what is printed. */

const MASK = "***";
const SECRET_KEY = /passw|secret|token|authorization|cookie|credential|signature|signing_?key|access_?key|api_?key/i;
const URL_PASSWORD = /(\b[a-z][a-z0-9+.-]*:\/\/)[^\s/?#@"']+@/gi;

/** Whether a value under this name is never printed. */
export function isSecretKey(key: string): boolean {
  return SECRET_KEY.test(key);
}

/** The text with `***` in place of the user and password of every URL in it. */
export function maskUrls(text: string): string {
  return text.includes("@") ? text.replace(URL_PASSWORD, `$1${MASK}@`) : text;
}

export { MASK };
