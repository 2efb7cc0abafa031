import { isRecord } from './board'
import { output } from './output'

/** A second of a ride. */
export interface Sample {
  second: number
  cadence: number
  resistance: number
  output: number
  /** The best the rider had before at this second. */
  best: number | null
  /** Whether it beats that best, or is the first there. */
  record: boolean
  /** Among all who ever rode this second; null where the answer came too late. */
  rank: number | null
  total: number | null
}

/** What a ride came to. */
export interface Result {
  seconds: number
  averageOutput: number
  topOutput: number
  /** The best rank at any second, and the first second at which it was held; null where none is known. */
  bestRank: { rank: number; total: number; second: number } | null
  finalRank: { rank: number; total: number } | null
  /** Seconds with a new personal best. */
  records: number
  /** Of these, seconds that nobody ever rode better. */
  leads: number
  /** The most records in a row. */
  streak: number
}

/** A ride as it is ridden: one sample a second, in order. */
export class Ride {
  readonly samples: Sample[] = []

  /** Takes what was ridden at the next second. */
  add(second: number, cadence: number, resistance: number, best: number | null): Sample {
    const value = output(cadence, resistance)
    const sample = {
      second,
      cadence,
      resistance,
      output: value,
      best,
      record: isRecord(value, best),
      rank: null,
      total: null,
    }
    this.samples.push(sample)
    return sample
  }

  /** Takes the place at a second, which may be known later. */
  place(second: number, rank: number, total: number): void {
    const sample = this.samples.findLast((sample) => sample.second === second)
    if (sample) [sample.rank, sample.total] = [rank, total]
  }
}

/** What these seconds came to; null where there is none. */
export function result(samples: readonly Sample[]): Result | null {
  if (samples.length === 0) return null
  let [sum, topOutput, records, leads, run, streak] = [0, 0, 0, 0, 0, 0]
  let bestRank: Result['bestRank'] = null
  let finalRank: Result['finalRank'] = null
  for (const { second, output, record, rank, total } of samples) {
    sum += output
    topOutput = Math.max(topOutput, output)
    run = record ? run + 1 : 0
    streak = Math.max(streak, run)
    if (record) records += 1
    if (rank === null || total === null) continue
    if (record && rank === 1) leads += 1
    finalRank = { rank, total }
    if (!bestRank || rank < bestRank.rank) bestRank = { rank, total, second }
  }
  return {
    seconds: samples.length,
    averageOutput: sum / samples.length,
    topOutput,
    bestRank,
    finalRank,
    records,
    leads,
    streak,
  }
}
