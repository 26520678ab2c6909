/** What a document of XML is told as. Names are without their prefixes. */
export interface XmlHandler {
  /** Attributes as they are written; `attribute` finds one. */
  open(name: string, attributes: string): void;
  text?(text: string): void;
  close?(name: string): void;
}

/** A document that cannot be read. */
export class XmlError extends Error {
  override readonly name = "XmlError";
}

const TAG = /<(\/?)(?:[^\s/>"':]*:)?([^\s/>"':]+)([^>"']*(?:"[^"]*"[^>"']*|'[^']*'[^>"']*)*)>/y;
const ENTITY = /&([^;]{0,10});?/g;
const ENTITIES: Record<string, string> = { lt: "<", gt: ">", amp: "&", quot: '"', apos: "'" };

/**
 * Reads XML as it comes, as much of it as office programs write: without a document type, and so without entities of its
 * own. It does not check that what is opened is closed.
 */
export class XmlScanner {
  readonly #handler: XmlHandler;
  readonly #maxPending: number;
  #pending = "";

  /** A tag or a text must not be longer than `maxPending`. */
  constructor(handler: XmlHandler, maxPending: number) {
    this.#handler = handler;
    this.#maxPending = maxPending;
  }

  write(chunk: string): void {
    const xml = this.#pending + chunk;
    let at = 0;
    for (;;) {
      const begin = xml.indexOf("<", at);
      if (begin < 0) break;
      if (begin > at) this.#handler.text?.(decodeXml(xml.slice(at, begin)));
      at = begin;
      const end = this.#readMarkup(xml, begin);
      if (end < 0) break;
      at = end;
    }
    this.#pending = xml.slice(at);
    if (this.#pending.length > this.#maxPending) throw new XmlError(`it has a text of more than ${this.#maxPending}`);
  }

  /** Throws where the document ends within a tag. */
  end(): void {
    if (this.#pending.trim() !== "") throw new XmlError("it ends in the middle");
  }

  /** Where it ends; -1 where that is not there yet. */
  #readMarkup(xml: string, begin: number): number {
    const second = xml[begin + 1];
    if (second === undefined) return -1;
    if (second === "?") return after(xml, "?>", begin);
    if (second === "!") return this.#readDeclaration(xml, begin);
    TAG.lastIndex = begin;
    const tag = TAG.exec(xml);
    if (!tag) return -1;
    const [, slash, name, attributes] = tag as unknown as [string, string, string, string];
    if (slash === "/") this.#handler.close?.(name);
    else {
      this.#handler.open(name, attributes);
      if (attributes.endsWith("/")) this.#handler.close?.(name);
    }
    return TAG.lastIndex;
  }

  #readDeclaration(xml: string, begin: number): number {
    if (xml.startsWith("<!--", begin)) return after(xml, "-->", begin + 4);
    if (xml.startsWith("<![CDATA[", begin)) {
      const end = after(xml, "]]>", begin);
      if (end >= 0) this.#handler.text?.(xml.slice(begin + 9, end - 3));
      return end;
    }
    if (xml.length - begin < 9) return -1;
    throw new XmlError("it has a document type");
  }
}

function after(xml: string, mark: string, from: number): number {
  const found = xml.indexOf(mark, from);
  return found < 0 ? -1 : found + mark.length;
}

function decodeXml(text: string): string {
  return text.includes("&") ? text.replace(ENTITY, (entity, name: string) => decodeEntity(entity, name)) : text;
}

function decodeEntity(entity: string, name: string): string {
  const known = ENTITIES[name];
  if (known !== undefined) return known;
  const [, hex, decimal] = /^#(?:x([0-9a-fA-F]+)|(\d+))$/.exec(name) ?? [];
  const code = hex ? parseInt(hex, 16) : Number(decimal);
  if (!(code >= 0 && code <= 0x10ffff)) throw new XmlError(`it has the unknown entity ${entity}`);
  return String.fromCodePoint(code);
}

/** The value of an attribute; a name is without its prefix. */
export function attribute(attributes: string, name: string): string | undefined {
  for (let at = attributes.indexOf(name); at >= 0; at = attributes.indexOf(name, at + 1)) {
    if (!/[\s:]/.test(attributes[at - 1] ?? "")) continue;
    const [, double, single] = /^\s*=\s*(?:"([^"]*)"|'([^']*)')/.exec(attributes.slice(at + name.length)) ?? [];
    const value = double ?? single;
    if (value !== undefined) return decodeXml(value);
  }
  return undefined;
}
