import { failedPrecondition } from "../errors.ts";
import type { Column, Row } from "../tabular/table.ts";
import type { KeptPages } from "./kept-pages.ts";
import { checkHeaderRepeats, readHeader, readRows } from "./object-rows.ts";
import type { OutboundPolicy } from "./outbound.ts";
import { outboundAgent } from "./outbound.ts";
import type { PageAnswer } from "./page-answer.ts";
import { explainPage, findHeader, readAnswer } from "./page-answer.ts";
import { PageFetcher } from "./page-fetcher.ts";
import type { FetchedPage } from "./page-queue.ts";
import { pagesInOrder } from "./page-queue.ts";
import type { FetchLimits, PagedRequest } from "./paged-request.ts";
import type { RowSource, SourcePosition } from "./row-source.ts";

export interface HttpSourceOptions {
  outbound: OutboundPolicy;
  limits: FetchLimits;
  /** Requests under way at once, after page 1. */
  connections: number;
  /** A source that says it has more is refused. */
  maxPages: number;
  /** Where pages are kept for whoever takes the crawl over. */
  kept?: KeptPages;
  signal: AbortSignal;
}

/** Opens a paged HTTP source; page 1 is fetched first, because it tells the columns and how many pages there are. */
export async function openHttp(request: PagedRequest, options: HttpSourceOptions): Promise<RowSource> {
  const closing = new AbortController();
  const signal = AbortSignal.any([options.signal, closing.signal]);
  const agent = outboundAgent(options.outbound, options.connections);
  const close = async () => {
    closing.abort();
    await agent.destroy();
    await options.kept?.close();
  };
  try {
    const fetcher = new PageFetcher(request, agent, options.limits, signal);
    const crawl = new Crawl(fetcher, options);
    const columns = await crawl.open();
    return { columns, batches: crawl.batches(columns), position: () => crawl.position, close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** One way through all pages. What the source says of its size may change on the way; its latest answer counts. */
class Crawl {
  readonly #fetcher: PageFetcher;
  readonly #options: HttpSourceOptions;
  #first: PageAnswer | undefined;
  #latestArrival = 0;
  position: SourcePosition = { pages: 0 };

  constructor(fetcher: PageFetcher, options: HttpSourceOptions) {
    this.#fetcher = fetcher;
    this.#options = options;
  }

  async open(): Promise<Column[]> {
    const body = await this.#fetcher.fetch(1);
    return explainPage(1, () => {
      this.#first = this.#readPage({ page: 1, body, arrival: 0 });
      return readHeader(this.#first.objects[0], this.#first.text, findHeader);
    });
  }

  async *batches(columns: readonly Column[]): AsyncGenerator<readonly Row[]> {
    yield explainPage(1, () => this.#rows(this.#takeFirst(), 1, columns));
    const { kept } = this.#options;
    const pages = pagesInOrder(async (page) => (await kept?.find(page)) ?? (await this.#fetcher.fetch(page)), {
      first: 2,
      last: () => this.position.totalPages ?? 1,
      connections: this.#options.connections,
    });
    for await (const fetched of pages) {
      yield explainPage(fetched.page, () => {
        const answer = this.#readPage(fetched);
        checkHeaderRepeats(answer.objects[0], columns);
        return this.#rows(answer, fetched.page, columns);
      });
      await kept?.add(fetched.page, fetched.body);
    }
  }

  /** Its rows must not live as long as the crawl. */
  #takeFirst(): PageAnswer {
    const first = this.#first!;
    this.#first = undefined;
    return first;
  }

  #rows(answer: PageAnswer, page: number, columns: readonly Column[]): Row[] {
    const rows = readRows(answer.objects, 1, answer.objects.length, columns);
    this.position = { ...this.position, pages: page };
    return rows;
  }

  #readPage({ page, body, arrival }: FetchedPage): PageAnswer {
    const answer = readAnswer(body, page);
    if (answer.totalPages > this.#options.maxPages) {
      throw failedPrecondition(
        `page ${page}: the source has ${answer.totalPages} pages; at most ${this.#options.maxPages} are read`,
      );
    }
    // Answers are read in page order, but came in another: an older one must not undo a newer one.
    if (arrival >= this.#latestArrival) {
      this.#latestArrival = arrival;
      this.position = { ...this.position, totalPages: answer.totalPages, totalRows: answer.totalRows };
    }
    return answer;
  }
}
