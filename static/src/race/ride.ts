import { countText, quantity } from '../format'
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
  /** Among all who ever rode this second; null where the response came too late. */
  rank: number | null
  total: number | null
}

/** The result of a ride. */
interface Result {
  seconds: number
  averageOutput: number
  topOutput: number
  /** The best rank at any second, and the first second at which it was held; null where none is known. */
  bestRank: { rank: number; total: number; second: number } | null
  /** The rank at the last second; null where it is not known. */
  finalRank: { rank: number; total: number } | null
  /** Number of seconds that beat an earlier best of the rider. */
  records: number
  /** Number of seconds at which the rider had no best before. */
  firsts: number
  /** Number of seconds at which the rider improved and nobody ever rode better. */
  leads: number
  /** Number of seconds whose rank is known. */
  ranked: number
  /** Number of seconds at which the rider improved and whose rank is not known. They may be leads, too. */
  unranked: number
  /** The longest run of records and first bests. */
  streak: number
}

/** A ride as it is ridden: one sample a second, in order. */
export class Ride {
  readonly samples: Sample[] = []

  /** Adds the next second. */
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

  /** Sets the rank at a second, which may become known later. */
  rank(second: number, rank: number, total: number): void {
    const sample = this.samples.findLast((sample) => sample.second === second)
    if (sample) [sample.rank, sample.total] = [rank, total]
  }
}

/** Returns the result of these seconds; null without any. */
export function result(samples: readonly Sample[]): Result | null {
  if (samples.length === 0) return null
  let [sum, topOutput, records, firsts, leads, ranked, unranked] = [0, 0, 0, 0, 0, 0, 0]
  let [run, streak] = [0, 0]
  let bestRank: Result['bestRank'] = null
  let finalRank: Result['finalRank'] = null
  for (const { second, output, best, record, rank, total } of samples) {
    sum += output
    topOutput = Math.max(topOutput, output)
    run = record ? run + 1 : 0
    streak = Math.max(streak, run)
    if (best === null) firsts += 1
    else if (record) records += 1
    finalRank = null
    if (rank === null || total === null) {
      if (record) unranked += 1
      continue
    }
    ranked += 1
    finalRank = { rank, total }
    if (record && rank === 1) leads += 1
    if (!bestRank || rank < bestRank.rank) bestRank = { rank, total, second }
  }
  return {
    seconds: samples.length,
    averageOutput: sum / samples.length,
    topOutput,
    bestRank,
    finalRank,
    records,
    firsts,
    leads,
    ranked,
    unranked,
    streak,
  }
}

/** Returns the headline of a result. `onBoards`: whether the ride is on the boards. */
export function praise(result: Result, onBoards: boolean): string {
  const { seconds, leads, unranked, firsts } = result
  if (leads > 0) {
    // Others may have beaten them since.
    const first = onBoards ? 'You were first of all time' : 'You would have been first of all time'
    if (leads === seconds) return `${first} at every second.`
    const atLeast = unranked > 0 ? 'at least ' : ''
    return `${first} for ${atLeast}${countText(leads)} of ${quantity(seconds, 'second')}.`
  }
  if (firsts === seconds) {
    return onBoards
      ? 'Your first ride here. From now on there are bests to beat.'
      : 'It would be your first ride here.'
  }
  const improved = improvements(result)
  if (improved) return `${onBoards ? '' : 'It would be '}${improved}.`
  return 'No record this time. The next one is within reach.'
}

/** Returns the seconds that improve the rider's bests, in words; empty without any. */
export function improvements({ records, firsts }: Result): string {
  return [
    records > 0 && quantity(records, 'personal record'),
    firsts > 0 && quantity(firsts, 'first best'),
  ]
    .filter(Boolean)
    .join(' and ')
}
