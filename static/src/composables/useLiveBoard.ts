/** The all-time board at the rider's live output, second by second. */
import { ref, shallowRef } from 'vue'

import { messageOf } from '../api/request'
import type { LiveBoard } from '../race/board'
import type { Sample } from '../race/ride'
import type { BoardSource } from '../state/board-source'

/** Number of rows of the board; the rider's is in the middle. */
export const BOARD_ROWS = 9

/** `onRanked` receives the rank at a second, which may be known later than the second is over. */
export function useLiveBoard(onRanked: (second: number, board: LiveBoard) => void) {
  const board = shallowRef<LiveBoard | null>(null)
  /** The second that the board shows: behind the clock while the service is slow. */
  const boardSecond = ref(0)
  const boardFailure = ref<string | null>(null)
  let loading = false
  /** Ranks the latest second that came while another one was loading. */
  let rankWaiting: (() => void) | null = null
  /** Number of the ride. Boards of an earlier one are ignored. */
  let ride = 0

  function clearBoard(): void {
    ride += 1
    rankWaiting = null
    ;[board.value, boardSecond.value, boardFailure.value] = [null, 0, null]
  }

  /** Ranks a second. One request to the service at a time, so that a slow service is not overloaded. */
  async function rank(source: BoardSource, sample: Sample): Promise<void> {
    if (source.kind === 'service' && loading) {
      rankWaiting = () => void rank(source, sample)
      return
    }
    const { second, output } = sample
    const found = source.board(second, output, BOARD_ROWS)
    if (!(found instanceof Promise)) return show(second, found)
    const current = ride
    loading = true
    try {
      const board = await found
      if (current !== ride) return
      boardFailure.value = null
      show(second, board)
    } catch (error) {
      if (current === ride) boardFailure.value = messageOf(error, 'The board cannot be loaded.')
    } finally {
      loading = false
    }
    const rankNext = rankWaiting
    rankWaiting = null
    rankNext?.()
  }

  function show(second: number, found: LiveBoard): void {
    if (second >= boardSecond.value) [board.value, boardSecond.value] = [found, second]
    onRanked(second, found)
  }

  return { board, boardSecond, boardFailure, clearBoard, rank }
}
