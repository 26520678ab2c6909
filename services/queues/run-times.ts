/** How long attempts took, as a histogram: its buckets grow by a fifth, so that what it tells is within 10 %. */

/** Attempts by bucket. */
export type Histogram = Record<string, number>;

const GROWTH = 1.2;
/** 1.2^160 ms is more than 100 years. */
const LAST_BUCKET = 160;

/** The bucket of a run time: 0 for less than a millisecond. */
export function bucketOf(ms: number): number {
  if (ms < 1) return 0;
  return Math.min(LAST_BUCKET, 1 + Math.floor(Math.log(ms) / Math.log(GROWTH)));
}

export function addRuns(histogram: Histogram, bucket: number | string, count: number): void {
  histogram[bucket] = (histogram[bucket] ?? 0) + count;
}

/** The run time in ms that this part of the attempts did not exceed: 0.95 for the 95th percentile; 0 where there were none. */
export function percentile(histogram: Histogram, part: number): number {
  const buckets = Object.entries(histogram).sort(([left], [right]) => Number(left) - Number(right));
  const rank = Math.ceil(part * buckets.reduce((sum, [, count]) => sum + count, 0));
  let seen = 0;
  for (const [bucket, count] of buckets) {
    seen += count;
    if (seen >= rank) return valueOf(Number(bucket));
  }
  return 0;
}

/** The middle of a bucket, by ratio. */
function valueOf(bucket: number): number {
  return bucket === 0 ? 0 : GROWTH ** (bucket - 0.5);
}
