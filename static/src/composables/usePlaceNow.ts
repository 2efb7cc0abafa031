/** The place of a ride's last output among all at that second, as the service has it. */
import { shallowRef } from 'vue'

import { NEXT_PLACE_ROWS, type LiveBoard } from '../race/board'
import type { OwnRide } from '../race/own-ride'
import { boardNow } from '../state/board-source'
import { useUpToDate } from './useLoad'

/** Null until it is loaded: others may have improved since the rider began. */
export function usePlaceNow({ classId, racerId, outputs }: OwnRide) {
  const board = shallowRef<LiveBoard | null>(null)
  useUpToDate(classId, async () => {
    const rider = { racerId, output: outputs.at(-1) ?? 0 }
    board.value = await boardNow(classId, outputs.length, rider, NEXT_PLACE_ROWS)
  })
  return board
}
