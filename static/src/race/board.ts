import { byOutput, type Effort } from './dataset'

/** A row of a board. */
export interface Standing extends Effort {
  /** From 1; racers with equal outputs share one (1, 2, 2, 4). */
  rank: number
}

/** The rider of this page. */
export interface Rider {
  racerId: number
  /** The output at this second. */
  output: number
}

/** A board with the rider in it, at the live output. */
export interface LiveBoard {
  rank: number
  /** Number of racers on the board, with the rider. */
  total: number
  /** Whether the live output beats the rider's best at this second, or is the first there. */
  record: boolean
  /** The rows around the rider. */
  rows: Standing[]
}

/**
 * Returns the board of a second with the rider at the live output, in place of the rider's own best. It has `size` rows with
 * the rider in the middle, and is full at either edge. `efforts` are those of that second, in board order.
 */
export function liveBoard(efforts: readonly Effort[], rider: Rider, size: number): LiveBoard {
  const own = efforts.find((effort) => effort.racerId === rider.racerId)
  const others = own ? efforts.filter((effort) => effort !== own) : efforts
  const place = lowerBound(others, rider)
  const all = {
    length: others.length + 1,
    at: (i: number) => (i < place ? others[i] : i === place ? rider : others[i - 1]),
  }
  const start = windowStart(place, all.length, size)
  const end = Math.min(all.length, start + size)
  const rows: Standing[] = []
  let rank = 0
  for (let i = start; i < end; i++) {
    const effort = all.at(i)
    if (!effort) break
    const before = i > 0 ? all.at(i - 1) : undefined
    if (before?.output !== effort.output) rank = i + 1
    else if (rank === 0) rank = firstOf(others, effort.output) + 1
    rows.push({ racerId: effort.racerId, output: effort.output, rank })
  }
  return {
    rank: firstOf(others, rider.output) + 1,
    total: all.length,
    record: isRecord(rider.output, own?.output ?? null),
    rows,
  }
}

/** The place above the rider's, and the output that it takes to reach it. */
export interface NextPlace {
  rank: number
  racerId: number
  gap: number
}

/**
 * Number of rows around the rider among which the next place is found. Many may be level with the rider: all who do not move the
 * controls are.
 */
export const NEXT_PLACE_ROWS = 100

/** Returns the next place above the rider's; null where no row is above, and where the rows above are all level. */
export function nextPlace({ rows }: Pick<LiveBoard, 'rows'>, racerId: number): NextPlace | null {
  const own = rows.find((row) => row.racerId === racerId)
  const above = own && rows.findLast((row) => row.output > own.output)
  if (!above) return null
  return { rank: above.rank, racerId: above.racerId, gap: above.output - own.output }
}

/** Returns whether an output beats the best. The first one does. */
export function isRecord(output: number, best: number | null): boolean {
  return best === null || output > best
}

/** The part of the service's board that matters here. */
export interface Page {
  total: number
  standings: readonly (Standing & { name?: string | null | undefined })[]
}

/** An own best that was erased: no rank counts it. */
export const NO_BEST = -Infinity

/**
 * Returns the rows of a board on which a stand-in has the rider's live output, with the rider in its place: the rider's own
 * best is removed, and the rows below it move up. Among those who are level, the rider stays last, as the stand-in is: the page
 * was loaded around that place. On other boards they are in the order of their ids.
 */
function withRiderForStandIn(
  standings: readonly Standing[],
  racerId: number,
  standIn: number,
  best: number,
): Standing[] {
  return standings
    .filter((row) => row.racerId !== racerId)
    .map((row) => ({
      racerId: row.racerId === standIn ? racerId : row.racerId,
      output: row.output,
      rank: row.output < best ? row.rank - 1 : row.rank,
    }))
}

/**
 * Returns the board of a rider whose live output is below the own best. On `page`, a stand-in has that output. A page of
 * `size` + 1 rows around the stand-in is enough, because the own best may be one of them.
 */
export function withoutOwnBest(
  page: Page,
  racerId: number,
  standIn: number,
  best: number,
  size: number,
): LiveBoard {
  const rows = withRiderForStandIn(page.standings, racerId, standIn, best)
  const place = rows.findIndex((row) => row.racerId === racerId)
  const start = windowStart(place, rows.length, size)
  return {
    rank: rows[place]?.rank ?? 0,
    total: best === NO_BEST ? page.total : page.total - 1,
    record: false,
    rows: rows.slice(start, start + size),
  }
}

/** Adds ranks to efforts in board order. */
export function ranked<T extends Effort>(efforts: readonly T[]): (T & Standing)[] {
  let rank = 0
  return efforts.map((effort, i) => {
    if (efforts[i - 1]?.output !== effort.output) rank = i + 1
    return { ...effort, rank }
  })
}

/** A row of a board of some racers. */
export interface GroupStanding extends Standing {
  /** The rank among those racers. */
  groupRank: number
}

/** Returns the rows of a board that the service was asked to limit to some racers. */
export function grouped(
  standings: readonly (Standing & { groupRank?: number })[],
): GroupStanding[] {
  return standings.map(({ racerId, output, rank, groupRank }) => ({
    racerId,
    output,
    rank,
    groupRank: groupRank ?? rank,
  }))
}

/** Returns the rows of a group with the rider in the stand-in's place, and without the own best. */
export function groupWithoutOwnBest(
  standings: readonly Standing[],
  racerId: number,
  standIn: number,
): GroupStanding[] {
  const best = standings.find((row) => row.racerId === racerId)?.output ?? NO_BEST
  const rows = withRiderForStandIn(standings, racerId, standIn, best)
  return ranked(rows).map(({ rank }, i) => ({ ...rows[i]!, groupRank: rank }))
}

/**
 * Returns these racers and the rider at the live output, in place of the rider's own best, ranked among all and among
 * themselves. `efforts` are those of a second, in board order.
 */
export function groupBoard(
  efforts: readonly Effort[],
  rider: Rider,
  racers: readonly number[],
): GroupStanding[] {
  const wanted = new Set(racers)
  const others = efforts.filter((effort) => effort.racerId !== rider.racerId)
  const group = others.filter(({ racerId }) => wanted.has(racerId))
  return ranked([...group, rider].sort(byOutput)).map(({ racerId, output, rank }) => ({
    racerId,
    output,
    rank: firstOf(others, output) + (rider.output > output ? 2 : 1),
    groupRank: rank,
  }))
}

/** Returns the first row of a full page of `size` rows with row `place` in its middle. */
export function windowStart(place: number, total: number, size: number): number {
  return Math.max(0, Math.min(place - Math.floor(size / 2), total - size))
}

/** Returns the number of efforts before `effort` in board order. */
function lowerBound(efforts: readonly Effort[], effort: Effort): number {
  return countWhile(efforts, (other) => byOutput(other, effort) < 0)
}

/** Returns the number of efforts that are strictly greater. */
function firstOf(efforts: readonly Effort[], output: number): number {
  return countWhile(efforts, (other) => other.output > output)
}

/** Returns the number of efforts that match. Those that match must come first. */
function countWhile(efforts: readonly Effort[], matches: (effort: Effort) => boolean): number {
  let [low, high] = [0, efforts.length]
  while (low < high) {
    const middle = (low + high) >> 1
    const effort = efforts[middle]
    if (effort && matches(effort)) low = middle + 1
    else high = middle
  }
  return low
}
