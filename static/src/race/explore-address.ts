/** The query of an explored class's address, so that the view can be shared and survives a reload. */
import { clamp, RACE_SECONDS } from './output'

/** The board: at a second, by the best of the whole race, or by the best finish. */
export type BoardKind = 'second' | 'race' | 'finish'

export interface ExploreAddress {
  second: number
  board: BoardKind
  /** The racer in the middle of the board; null: the board begins at the top. */
  around: number | null
  /** The page of the board, as the service names it; null: the first one, or the one around a racer. */
  page: string | null
  /** The racers that are compared; null: nobody chose any. */
  racers: number[] | null
  /** The page of the list of races; null: the newest. */
  races: string | null
  /** The race that is opened. */
  race: number | null
  /** Number of rows of its standings before the page that is shown. */
  rows: number
}

/** The second that is shown first. By then a board has its order, and most riders have reached it. */
const FIRST_SECOND = 60

export const FIRST_ADDRESS: ExploreAddress = {
  second: FIRST_SECOND,
  board: 'second',
  around: null,
  page: null,
  racers: null,
  races: null,
  race: null,
  rows: 0,
}

/** Maximum number of racers that are compared: more lines cannot be told apart. */
export const COMPARED_MAX = 6

type Query = Record<string, string | null | undefined | (string | null)[]>

function text(value: Query[string]): string | null {
  return (Array.isArray(value) ? value[0] : value) ?? null
}

/** Reads an id; null if the text is invalid. */
export function parseId(value: string | null): number | null {
  return value && /^\d+$/.test(value) && Number.isSafeInteger(Number(value)) ? Number(value) : null
}

/** Reads the name of a page; null if the text does not have the service's form. */
function parseCursor(value: string | null): string | null {
  return value && /^[\w-]{24}([\w-]{12})?$/.test(value) ? value : null
}

function parseBoard(value: string | null): BoardKind {
  return value === 'race' || value === 'finish' ? value : 'second'
}

/** Reads the compared racers: none of an empty text, and null if the text has no valid id. */
function parseRacers(value: string | null): number[] | null {
  if (!value) return value === '' ? [] : null
  const racers = value.split(',').map(parseId)
  const valid = new Set(racers.filter((racer) => racer !== null))
  return valid.size > 0 ? [...valid].slice(0, COMPARED_MAX) : null
}

/** Reads the query of an address. An invalid part counts as missing. */
export function parseAddress(query: Query): ExploreAddress {
  const second = parseId(text(query.second)) ?? FIRST_SECOND
  return {
    second: clamp(second, { min: 1, max: RACE_SECONDS }),
    board: parseBoard(text(query.board)),
    around: parseId(text(query.around)),
    page: parseCursor(text(query.page)),
    racers: parseRacers(text(query.racers)),
    races: parseCursor(text(query.races)),
    race: parseId(text(query.race)),
    rows: parseId(text(query.rows)) ?? 0,
  }
}

/** Writes the query of an address. Parts with their first value are left out. */
export function toQuery(address: ExploreAddress) {
  const { second, board, around, page, racers, races, race, rows } = address
  return {
    ...(second !== FIRST_SECOND && { second: String(second) }),
    ...(board !== 'second' && { board }),
    ...(around !== null && { around: String(around) }),
    ...(page !== null && { page }),
    ...(racers !== null && { racers: racers.join(',') }),
    ...(races !== null && { races }),
    ...(race !== null && { race: String(race) }),
    ...(rows > 0 && { rows: String(rows) }),
  }
}

/** Returns the changed address. A page belongs to one board, so another board or race begins at its first page. */
export function withChange(
  address: ExploreAddress,
  change: Partial<ExploreAddress>,
): ExploreAddress {
  const isOtherBoard = 'second' in change || 'board' in change || 'around' in change
  return {
    ...address,
    ...(isOtherBoard && { page: null }),
    ...('race' in change && { rows: 0 }),
    ...change,
  }
}
