/** The all-time boards of a race, from the history and the bests since, or from the service, second by second. */
import { curve, history, leaderboard, records, type Leaderboard } from '../api/client'
import { ApiError } from '../api/request'
import { type ClassSummary } from '../api/status'
import {
  groupBoard,
  grouped,
  isRecord,
  liveBoard,
  withoutOwnBest,
  type GroupStanding,
  type LiveBoard,
  type Rider,
} from '../race/board'
import { byOutput, History, type Effort } from '../race/dataset'
import type { Best } from '../race/new-bests'
import { applyNames, requestNames } from './names'

/** Maximum size of a history that is loaded, in compressed bytes: some 700,000 efforts, half a second of work on a phone. */
const HISTORY_BYTES_MAX = 4 << 20

/** The greatest id, which nobody has. At equal outputs it ranks last. */
const STAND_IN = Number.MAX_SAFE_INTEGER

export interface BoardSource {
  /** `history`: every board is in memory; `service`: each needs a request. */
  kind: 'history' | 'service'
  /** The rider's best at that second, before this ride. */
  best(second: number): number | null
  /** The class record at that second, without this ride. */
  record(second: number): Effort | null
  /** Takes in new bests of the class, so that the boards do not grow old. Those of the rider are of this ride. */
  raise(bests: readonly Best[]): void
  /** The board at that second with the rider in it, `size` rows around the rider. */
  board(second: number, output: number, size: number): LiveBoard | Promise<LiveBoard>
  /** These racers and the rider at that second, ranked among all and among themselves. */
  group(
    second: number,
    output: number,
    racers: readonly number[],
  ): GroupStanding[] | Promise<GroupStanding[]>
}

/** Loads the boards of a class. Calls `onProgress` with the share that has arrived, 0 to 1. */
export async function loadSource(
  summary: ClassSummary,
  racerId: number,
  onProgress: (share: number) => void,
): Promise<BoardSource> {
  if (summary.historyBytes <= HISTORY_BYTES_MAX) {
    const bytes = Math.max(summary.historyBytes, 1)
    try {
      const dataset = await history(summary.classId, (arrived) =>
        onProgress(Math.min(1, arrived / bytes)),
      )
      return fromHistory(summary.classId, new History(dataset), racerId)
    } catch (error) {
      if (!(error instanceof ApiError && error.kind === 'missing')) throw error
    }
  }
  return fromService(summary.classId, racerId)
}

function fromHistory(classId: number, history: History, racerId: number): BoardSource {
  const best = history.curve(racerId)
  const records = history.records()
  return {
    kind: 'history',
    best: (second) => best.get(second) ?? null,
    record: (second) => records.get(second) ?? null,
    raise(bests) {
      const others = bests.filter((best) => best.racerId !== racerId)
      for (const best of others) history.add(best.second, best)
      raiseRecords(records, others)
    },
    board(second, output, size) {
      const board = liveBoard(history.at(second), { racerId, output }, size)
      requestNames(
        classId,
        board.rows.map((row) => row.racerId),
      )
      return board
    },
    group: (second, output, racers) => groupBoard(history.at(second), { racerId, output }, racers),
  }
}

async function fromService(classId: number, racerId: number): Promise<BoardSource> {
  const [own, leaders] = await Promise.all([
    curve(classId, racerId),
    records(classId).catch(() => ({})),
  ])
  const best = new Map(own.seconds.map(({ second, output }) => [second, output]))
  const classRecords = new History(leaders).records()
  /** The rider's best where it stays on the service's board, because the output does not beat it. */
  const keptBest = (second: number, output: number) => {
    const own = best.get(second) ?? null
    return isRecord(output, own) ? null : own
  }
  return {
    kind: 'service',
    best: (second) => best.get(second) ?? null,
    record: (second) => classRecords.get(second) ?? null,
    raise: (bests) => {
      raiseRecords(
        classRecords,
        bests.filter((best) => best.racerId !== racerId),
      )
    },
    board: (second, output, size) =>
      serviceBoard(classId, second, { racerId, output }, keptBest(second, output), size),
    async group(second, output, racers) {
      const kept = keptBest(second, output)
      const whatIfId = kept === null ? racerId : STAND_IN
      const group = [...racers.filter((other) => other !== racerId), whatIfId]
      const whatIf = { racerId: whatIfId, output, racers: group, limit: group.length }
      const { standings } = await leaderboard(classId, { second, ...whatIf })
      applyNames(standings)
      // As in `withoutOwnBest`: the own best is on the board, and the rows below it move up.
      return grouped(standings).map((row) => ({
        ...row,
        racerId: row.racerId === whatIfId ? racerId : row.racerId,
        rank: kept !== null && row.output < kept ? row.rank - 1 : row.rank,
      }))
    },
  }
}

/** Returns the board at a second with the rider in it. `kept` is the rider's best on it; null if the output beats that. */
async function serviceBoard(
  classId: number,
  second: number,
  rider: Rider,
  kept: number | null,
  size: number,
): Promise<LiveBoard> {
  const request = async (racerId: number, limit: number) => {
    const whatIf = { second, racerId, output: rider.output, around: racerId, limit }
    const page = await leaderboard(classId, whatIf)
    applyNames(page.standings)
    return page
  }
  if (kept === null) return asLive(await request(rider.racerId, size), rider)
  // A stand-in shows where the output would be.
  return withoutOwnBest(await request(STAND_IN, size + 1), rider, STAND_IN, kept, size)
}

/** Returns the board at a second as the service has it now, with the rider at this output. */
export async function boardNow(
  classId: number,
  second: number,
  rider: Rider,
  size: number,
): Promise<LiveBoard> {
  const own = await leaderboard(classId, { second, racers: [rider.racerId], limit: 1 })
  const best = own.standings[0]?.output ?? null
  const kept = isRecord(rider.output, best) ? null : best
  return serviceBoard(classId, second, rider, kept, size)
}

/** Raises the records that these bests beat. */
function raiseRecords(records: Map<number, Effort>, bests: readonly Best[]): void {
  for (const { second, racerId, output } of bests) {
    const record = records.get(second)
    const effort = { racerId, output }
    if (!record || byOutput(effort, record) < 0) records.set(second, effort)
  }
}

function asLive(page: Leaderboard, rider: Rider): LiveBoard {
  const own = page.standings.find((row) => row.racerId === rider.racerId)
  return {
    rank: own?.rank ?? 0,
    total: page.total,
    record: own?.newRecord ?? false,
    rows: page.standings,
  }
}
