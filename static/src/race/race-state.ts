/** How far a race is. */
import type { Race } from '../api/client'
import { minutes } from './clock'
import { RACE_SECONDS } from './output'

/** Age at which a race without its end counts as given up, in milliseconds: three times a race's length. */
const GIVEN_UP_MS = 15 * 60 * 1000

/** Returns whether racers may still ride in a race: others follow the first one to the end. */
export function mayGoOn({ startedAt }: Pick<Race, 'startedAt'>, nowMs: number): boolean {
  return nowMs - startedAt < GIVEN_UP_MS
}

/** Returns how far a race is. `givenUp`: it ended before its last second, or it began long ago and its end never came. */
export function stateOf(race: Race, nowMs: number): 'underWay' | 'finished' | 'givenUp' {
  if (race.finished) return race.lastSecond < RACE_SECONDS ? 'givenUp' : 'finished'
  return mayGoOn(race, nowMs) ? 'underWay' : 'givenUp'
}

/** Returns how far a race is, in words. */
export function stateText(race: Race, nowMs: number): string {
  const at = minutes(race.lastSecond)
  return { underWay: `at ${at}`, finished: 'finished', givenUp: `ended at ${at}` }[
    stateOf(race, nowMs)
  ]
}
