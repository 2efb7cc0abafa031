/** The place of a ride's last output on the board of best finishes. */
import { computed, shallowRef } from 'vue'

import { leaderboard, type Leaderboard } from '../api/client'
import { NEXT_PLACE_ROWS, nextPlace } from '../race/board'
import type { OwnRide } from '../race/own-ride'
import { applyNames } from '../state/names'
import { period } from '../state/service'
import { useUpToDate } from './useLoad'

export function useFinishPlace({ classId, racerId, outputs }: OwnRide) {
  const board = shallowRef<Leaderboard | null>(null)
  const output = outputs.at(-1) ?? 0

  async function load(): Promise<void> {
    // A what-if: the ride may not be stored yet, or never will be.
    const query = {
      by: 'finish',
      racerId,
      output,
      around: racerId,
      limit: NEXT_PLACE_ROWS,
    } as const
    const found = await leaderboard(classId, query)
    applyNames(found.standings)
    board.value = found
  }

  // Finishes change without the state of the class.
  useUpToDate(classId, load, period)

  /** Null until it is loaded. */
  return computed(() => {
    const own = board.value?.standings.find((row) => row.racerId === racerId)
    if (!board.value || !own) return null
    return {
      rank: own.rank,
      total: board.value.total,
      /** An earlier finish that is better, and holds the place. */
      better: own.output > output ? own.output : null,
      /** Whether the service has a finish of the rider that holds the place: this one, an equal or a better one. */
      isStored: own.newRecord !== true,
      next: nextPlace({ rows: board.value.standings }, racerId),
    }
  })
}
