/** The all-time boards of a race: from the service, or from the history that was loaded before the ride. */
import { curve, history, leaderboard, records, type Leaderboard } from '../api/client'
import { mayPass } from '../api/request'
import { type ClassSummary } from '../api/status'
import {
  groupBoard,
  grouped,
  groupWithoutOwnBest,
  isRecord,
  liveBoard,
  NO_BEST,
  withoutOwnBest,
  type GroupStanding,
  type LiveBoard,
  type Rider,
} from '../race/board'
import { History, type Effort } from '../race/dataset'
import { applyNames, requestNames } from './names'
import { reachable, service } from './service'

/** Maximum size of a history that is loaded, in compressed bytes: up to 700,000 efforts, half a second of work on a phone. */
const HISTORY_BYTES_MAX = 4 << 20

/** Maximum time of a request for which the history can stand in, in milliseconds: the board is never much behind the clock. */
const BOARD_TIMEOUT_MS = 2000

/**
 * Time between two requests for boards where a ride is faster than real time and has no history, in milliseconds. A ride that
 * is not sent takes no more of the service than one that is.
 */
const REST_MS = 1000

/** The greatest id, which nobody has. At equal outputs it ranks last. */
const STAND_IN = Number.MAX_SAFE_INTEGER

/** A board, and whether it is as of the ride's start: that of the history, in place of the service's. */
export interface Sourced<T> {
  value: T
  asOfStart: boolean
}
type MaybePromise<T> = T | Promise<T>

export interface BoardSource {
  /** The rider's best at that second, before this ride. */
  best(second: number): number | null
  /** The class record at that second, before this ride. */
  classRecord(second: number): Effort | null
  /** The board at that second with the rider in it, `size` rows around the rider. */
  board(second: number, output: number, size: number): MaybePromise<Sourced<LiveBoard>>
  /** These racers and the rider at that second, ranked among all and among themselves. */
  group(
    second: number,
    output: number,
    racers: readonly number[],
  ): MaybePromise<Sourced<GroupStanding[]>>
  /** Waits until the next board may be requested. It is called after each board, before the next second is chosen. */
  rest(): Promise<void>
}

/**
 * Loads what a ride needs of a class. Calls `onProgress` with the share that has arrived, 0 to 1. The boards are the
 * service's. The history, if it is loaded, stands in while the service does not respond, and where `isRealTime` returns false:
 * faster rides would ask it many times a second. Without a history, they ask it once a second.
 */
export async function loadSource(
  summary: ClassSummary,
  racerId: number,
  isRealTime: () => boolean,
  onProgress: (share: number) => void,
): Promise<BoardSource> {
  if (summary.historyBytes <= HISTORY_BYTES_MAX) {
    const dataset = await history(summary.classId, (arrived) =>
      onProgress(Math.min(1, arrived / summary.historyBytes)),
    )
    return withHistory(summary.classId, new History(dataset), racerId, isRealTime)
  }
  return withoutHistory(summary.classId, racerId, isRealTime)
}

function withHistory(
  classId: number,
  atStart: History,
  racerId: number,
  isRealTime: () => boolean,
): BoardSource {
  const bests = atStart.curve(racerId)
  const classRecords = atStart.classRecords()
  const best = (second: number) => bests.get(second) ?? null
  const now = serviceBoards(classId, racerId, best, BOARD_TIMEOUT_MS)
  /** The poll after which a request failed. The service is asked again after the next one. */
  let failedPoll: number | null = null

  function find<T>(fromService: () => Promise<T>, fromHistory: () => T): MaybePromise<Sourced<T>> {
    const standIn = () => ({ value: fromHistory(), asOfStart: true })
    if (!isRealTime() || !reachable.value || service.now === failedPoll) return standIn()
    return asNow(fromService()).catch((error: unknown) => {
      if (!mayPass(error)) throw error
      failedPoll = service.now
      return standIn()
    })
  }

  return {
    best,
    classRecord: (second) => classRecords.get(second) ?? null,
    board: (second, output, size) =>
      find(
        () => now.board(second, output, size),
        () => {
          const board = liveBoard(atStart.at(second), { racerId, output }, size)
          requestNames(
            classId,
            board.rows.map((row) => row.racerId),
          )
          return board
        },
      ),
    group: (second, output, racers) =>
      find(
        () => now.group(second, output, racers),
        () => groupBoard(atStart.at(second), { racerId, output }, racers),
      ),
    rest: async () => {},
  }
}

async function withoutHistory(
  classId: number,
  racerId: number,
  isRealTime: () => boolean,
): Promise<BoardSource> {
  const [own, leaders] = await Promise.all([
    curve(classId, racerId),
    records(classId).catch(() => ({})),
  ])
  const bests = new Map(own.seconds.map(({ second, output }) => [second, output]))
  const classRecords = new History(leaders).classRecords()
  const best = (second: number) => bests.get(second) ?? null
  const now = serviceBoards(classId, racerId, best)
  return {
    best,
    classRecord: (second) => classRecords.get(second) ?? null,
    board: (second, output, size) => asNow(now.board(second, output, size)),
    group: (second, output, racers) => asNow(now.group(second, output, racers)),
    rest: async () => {
      if (!isRealTime()) await new Promise((resolve) => setTimeout(resolve, REST_MS))
    },
  }
}

async function asNow<T>(found: Promise<T>): Promise<Sourced<T>> {
  return { value: await found, asOfStart: false }
}

/** The boards as the service has them at the request. `best` returns the rider's best at a second. */
function serviceBoards(
  classId: number,
  racerId: number,
  best: (second: number) => number | null,
  timeoutMs?: number,
) {
  /**
   * Requests a board with the output on it: as the rider's where it beats the rider's best, otherwise as a stand-in's beside
   * that best, which is `kept`. `query` returns the query for an id.
   */
  async function requestWith(
    second: number,
    output: number,
    query: (id: number) => Parameters<typeof leaderboard>[1],
  ): Promise<{ page: Leaderboard; kept: number | null }> {
    const whatIf = async (id: number) => {
      const asked = { ...query(id), second, racerId: id, output }
      const page = await leaderboard(classId, asked, timeoutMs)
      applyNames(page.standings)
      return page
    }
    let kept = best(second)
    if (isRecord(output, kept)) {
      const page = await whatIf(racerId)
      const own = page.standings.find((row) => row.racerId === racerId)
      // Another ride of the rider may have raised the best since this one began.
      if (!own || own.output <= output) return { page, kept: null }
      kept = own.output
    }
    return { page: await whatIf(STAND_IN), kept }
  }

  return {
    async board(second: number, output: number, size: number): Promise<LiveBoard> {
      const rider: Rider = { racerId, output }
      const { page, kept } = await requestWith(second, output, (id) => ({
        around: id,
        // With the own best among the rows of a stand-in there is one too many.
        limit: id === STAND_IN ? size + 1 : size,
      }))
      if (kept === null) return asLive(page, rider)
      return withoutOwnBest(page, racerId, STAND_IN, ownBestAround(page, racerId, kept), size)
    },
    async group(second: number, output: number, racers: readonly number[]) {
      const { page, kept } = await requestWith(second, output, (id) => {
        // The rider's own best, too, if a stand-in has the output.
        const group = [...new Set([...racers, racerId, id])]
        return { racers: group, limit: group.length }
      })
      if (kept === null) return grouped(page.standings)
      return groupWithoutOwnBest(page.standings, racerId, STAND_IN)
    },
  }
}

/**
 * Returns the output below which the ranks of a page around the stand-in count the rider's own best: that best; `Infinity` if
 * it was raised and is above the page; `NO_BEST` if it was erased. `before` is the best before the ride.
 *
 * The page alone does not always tell. Ranks and total may be wrong by one where the page does not begin at the top and the best
 * was erased, and where a raised best is off the page and level with a row of it.
 */
function ownBestAround({ standings }: Leaderboard, racerId: number, before: number): number {
  const own = standings.find((row) => row.racerId === racerId)
  if (own) return own.output
  const [first] = standings
  // Above a first rank are only those who are level with it.
  if (first?.rank === 1 && first.output !== before) return NO_BEST
  return before < (first?.output ?? 0) ? Infinity : before
}

/** Returns the board at a second as the service has it now, with the rider at this output. */
export function boardNow(
  classId: number,
  second: number,
  { racerId, output }: Rider,
  size: number,
): Promise<LiveBoard> {
  // The rider's best is not known here: the service's board has it where it is higher.
  return serviceBoards(classId, racerId, () => null).board(second, output, size)
}

/** Returns the board of an output that beats the rider's best. It may be stored by now, so the service may not call it a record. */
function asLive(page: Leaderboard, rider: Rider): LiveBoard {
  const own = page.standings.find((row) => row.racerId === rider.racerId)
  return { rank: own?.rank ?? 0, total: page.total, record: true, rows: page.standings }
}
