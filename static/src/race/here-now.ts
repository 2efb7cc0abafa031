import type { Race } from '../api/client'

/** A race without its end is given up after this long, in milliseconds: three times what one lasts. */
const ABANDONED_MS = 15 * 60 * 1000

/** The race to show: of those that go on the one with the most racers, then the newest; else the last one's results. */
export function raceToShow(races: readonly Race[], own: number | null, nowMs: number): Race | null {
  const others = races.filter((race) => race.raceId !== own || race.racers > 1)
  const going = others.filter((race) => !race.finished && nowMs - race.startedAt < ABANDONED_MS)
  const most = Math.max(...going.map((race) => race.racers))
  return going.find((race) => race.racers === most) ?? others[0] ?? null
}
