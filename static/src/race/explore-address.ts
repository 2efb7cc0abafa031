/** The query of an explored class's address, so that the view can be shared and survives a reload. */
import { RACE_SECONDS } from './output'

export interface ExploreAddress {
  second: number
  /** Whether the board is over all seconds. */
  whole: boolean
  /** The racer in the middle of the board; null: the board begins at the top. */
  around: number | null
  /** The racers that are compared; null: nobody chose any. */
  racers: number[] | null
  /** The race that is opened. */
  race: number | null
}

/** The second that is shown first. By then a board has its order, and most riders have reached it. */
const FIRST_SECOND = 60

/** Maximum number of racers that are compared: more lines cannot be told apart. */
export const COMPARED_MAX = 6

type Query = Record<string, string | null | undefined | (string | null)[]>

function text(value: Query[string]): string | null {
  return (Array.isArray(value) ? value[0] : value) ?? null
}

function id(value: string | null): number | null {
  return value && /^\d+$/.test(value) && Number.isSafeInteger(Number(value)) ? Number(value) : null
}

/** Reads the query of an address. What is invalid counts as missing. */
export function parseAddress(query: Query): ExploreAddress {
  const second = id(text(query.second)) ?? FIRST_SECOND
  const racers = text(query.racers)
    ?.split(',')
    .map(id)
    .filter((racer) => racer !== null)
  return {
    second: Math.min(Math.max(second, 1), RACE_SECONDS),
    whole: text(query.board) === 'race',
    around: id(text(query.around)),
    racers: racers ? [...new Set(racers)].slice(0, COMPARED_MAX) : null,
    race: id(text(query.race)),
  }
}

/** Writes the query of an address, without what is as it is at first. */
export function toQuery({ second, whole, around, racers, race }: ExploreAddress) {
  return {
    ...(second !== FIRST_SECOND && { second: String(second) }),
    ...(whole && { board: 'race' }),
    ...(around !== null && { around: String(around) }),
    ...(racers !== null && { racers: racers.join(',') }),
    ...(race !== null && { race: String(race) }),
  }
}
