import { expect, test } from "@jest/globals";
import fc from "fast-check";
import type { Histogram } from "../../../../services/queues/run-times.ts";
import { addRuns, bucketOf, percentile } from "../../../../services/queues/run-times.ts";

function histogramOf(times: number[]): Histogram {
  const histogram: Histogram = {};
  for (const ms of times) addRuns(histogram, bucketOf(ms), 1);
  return histogram;
}

test("a percentile is within 10 % of the true one, from a millisecond to a year", () => {
  const times = fc.array(fc.integer({ min: 1, max: 365 * 86_400_000 }), { minLength: 1, maxLength: 200 });
  const part = fc.constantFrom(0.5, 0.95, 0.99);
  fc.assert(
    fc.property(times, part, (ms, p) => {
      const sorted = [...ms].sort((left, right) => left - right);
      const exact = sorted[Math.ceil(p * sorted.length) - 1] ?? 0;
      expect(Math.abs(percentile(histogramOf(ms), p) / exact - 1)).toBeLessThanOrEqual(0.1);
    }),
  );
});

test("nothing took no time, and what took less than a millisecond neither", () => {
  expect(percentile({}, 0.5)).toBe(0);
  expect(percentile(histogramOf([0, 0, 0]), 0.99)).toBe(0);
  expect(percentile(histogramOf([0, 0, 100]), 0.5)).toBe(0);
});

test("a bucket that is text, as it comes from the datastore, adds to the same number", () => {
  const histogram = histogramOf([5]);
  addRuns(histogram, String(bucketOf(5)), 2);
  expect(Object.values(histogram)).toEqual([3]);
});

test("what takes longer than the last bucket is in it", () => {
  expect(bucketOf(1e30)).toBe(bucketOf(1e20));
});
