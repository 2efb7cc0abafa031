import type { Race, RaceBoard } from '../api/client'
import { liveBoard, type Rider, type Standing } from './board'

type Row = Omit<Standing, 'rank'> & { rank: number | null }

/** Age at which a race without its end counts as given up, in milliseconds: three times a race's length. */
const ABANDONED_MS = 15 * 60 * 1000

/**
 * Returns the race to show, from races with the newest first: of those under way the one with the most racers, then the
 * newest; otherwise the last one. `own` is the rider's race, which is shown only if others ride it, too.
 */
export function raceToShow<R extends Race>(
  races: readonly R[],
  own: number | null,
  nowMs: number,
): R | null {
  const others = races.filter((race) => race.raceId !== own || race.racers > 1)
  const underWay = others.filter((race) => !race.finished && nowMs - race.startedAt < ABANDONED_MS)
  const most = Math.max(...underWay.map((race) => race.racers))
  return underWay.find((race) => race.racers === most) ?? others[0] ?? null
}

/** Returns `size` rows of a race around the rider. Behind the standings that the service pushes, the rider has no known rank. */
export function rowsAround(
  { racers, standings }: Pick<RaceBoard, 'racers' | 'standings'>,
  rider: Rider,
  size: number,
): Row[] {
  const { rows } = liveBoard(standings, rider, size)
  const last = standings.findLast(({ racerId }) => racerId !== rider.racerId)
  if (standings.length >= racers || !last || last.output <= rider.output) return rows
  return rows.map((row) => (row.racerId === rider.racerId ? { ...row, rank: null } : row))
}
