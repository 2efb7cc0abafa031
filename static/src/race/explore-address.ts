/** The query of an explored class's address, so that the view can be shared and survives a reload. */
import { clamp, RACE_SECONDS } from './output'

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

/** Reads an id; null if the text is none. */
export function parseId(value: string | null): number | null {
  return value && /^\d+$/.test(value) && Number.isSafeInteger(Number(value)) ? Number(value) : null
}

/** Reads the query of an address. What is invalid counts as missing. */
export function parseAddress(query: Query): ExploreAddress {
  const second = parseId(text(query.second)) ?? FIRST_SECOND
  const racers = text(query.racers)
    ?.split(',')
    .map(parseId)
    .filter((racer) => racer !== null)
  return {
    second: clamp(second, { min: 1, max: RACE_SECONDS }),
    whole: text(query.board) === 'race',
    around: parseId(text(query.around)),
    racers: racers ? [...new Set(racers)].slice(0, COMPARED_MAX) : null,
    race: parseId(text(query.race)),
  }
}

/** Writes the query of an address. Parts with their first value are left out. */
export function toQuery({ second, whole, around, racers, race }: ExploreAddress) {
  return {
    ...(second !== FIRST_SECOND && { second: String(second) }),
    ...(whole && { board: 'race' }),
    ...(around !== null && { around: String(around) }),
    ...(racers !== null && { racers: racers.join(',') }),
    ...(race !== null && { race: String(race) }),
  }
}
