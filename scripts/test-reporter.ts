import { basename } from "node:path";

/** What a run of tests came to. */
export interface TestCounts {
  passed: number;
  failed: number;
  skipped: number;
}

/** The part of Jest's results that the counts are made of. */
interface JestResults {
  numPassedTests: number;
  numFailedTests: number;
  numRuntimeErrorTestSuites: number;
  numPendingTests: number;
  numTodoTests: number;
}

/** The part of a file's results that says what took how long. */
interface JestFileResult {
  testFilePath: string;
  testResults: { fullName: string; duration?: number | null }[];
}

const SLOWEST = 20;

/** A reporter for Jest that sends the counts of a run to the process that started Jest, and tells which tests took longest. */
export default class CountsReporter {
  readonly #times: { ms: number; name: string }[] = [];

  onTestResult(_test: unknown, { testFilePath, testResults }: JestFileResult): void {
    const file = basename(testFilePath);
    for (const { fullName, duration } of testResults)
      this.#times.push({ ms: duration ?? 0, name: `${file}: ${fullName}` });
  }

  onRunComplete(_contexts: unknown, results: JestResults): void {
    const counts: TestCounts = {
      passed: results.numPassedTests,
      // A file that could not be loaded has no tests that could fail.
      failed: results.numFailedTests + results.numRuntimeErrorTestSuites,
      skipped: results.numPendingTests + results.numTodoTests,
    };
    process.send?.(counts);
    if (counts.passed < SLOWEST) return;
    console.log("the slowest tests:");
    const slowest = this.#times.sort((one, other) => other.ms - one.ms).slice(0, SLOWEST);
    for (const { ms, name } of slowest) console.log(`${(ms / 1_000).toFixed(1).padStart(8)} s  ${name}`);
  }
}
