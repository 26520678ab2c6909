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

/** A reporter for Jest that sends the counts of a run to the process that started Jest. */
export default class CountsReporter {
  onRunComplete(_contexts: unknown, results: JestResults): void {
    const counts: TestCounts = {
      passed: results.numPassedTests,
      // A file that could not be loaded has no tests that could fail.
      failed: results.numFailedTests + results.numRuntimeErrorTestSuites,
      skipped: results.numPendingTests + results.numTodoTests,
    };
    process.send?.(counts);
  }
}
