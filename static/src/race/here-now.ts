import type { Race, RaceBoard } from '../api/client'
import { liveBoard, type Rider, type Standing } from './board'
import { stateOf } from './race-state'

type Row = Omit<Standing, 'rank'> & { rank: number | null }

/** A race, with its racers where they are known. */
type SeenRace = Race & { standings?: readonly { racerId: number }[] }

/**
 * Returns the race to show to a rider, from races with the newest first: of those under way the one with the most racers,
 * then the newest; otherwise the last one that was finished. A race that nobody else rides is not shown.
 */
export function raceToShow<R extends SeenRace>(
  races: readonly R[],
  you: number,
  nowMs: number,
): R | null {
  const others = races.filter((race) => race.racers > 1 || race.standings?.[0]?.racerId !== you)
  const underWay = others.filter((race) => stateOf(race, nowMs) === 'underWay')
  const most = Math.max(...underWay.map((race) => race.racers))
  return (
    underWay.find((race) => race.racers === most) ??
    others.find((race) => stateOf(race, nowMs) === 'finished') ??
    null
  )
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
