/** What is used of https://webassembly.github.io/spec/js-api/, which TypeScript declares only together with the DOM. */
declare namespace WebAssembly {
  type ImportValue = (...values: never[]) => unknown;

  class Module {
    constructor(bytes: Uint8Array);
    static imports(module: Module): { module: string; name: string }[];
  }

  class Instance {
    constructor(module: Module, imports: Record<string, Record<string, ImportValue>>);
    readonly exports: Record<string, unknown>;
  }

  interface Memory {
    readonly buffer: ArrayBuffer;
    grow(pages: number): number;
  }

  interface Table {
    get(entry: number): unknown;
    set(entry: number, value: unknown): void;
    /** Answers how many entries there were. */
    grow(entries: number): number;
  }

  function compile(bytes: Uint8Array): Promise<Module>;
}
