/** The all-time board at the rider's live output, second by second. */
import { ref, shallowRef } from 'vue'

import { messageOf } from '../api/request'
import type { LiveBoard } from '../race/board'
import type { Sample } from '../race/ride'
import type { BoardSource, Sourced } from '../state/board-source'

/** Number of rows of the board; the rider's is in the middle. */
export const BOARD_ROWS = 9

/** `onRanked` receives the board at a second, which may be known later than the second is over. */
export function useLiveBoard(onRanked: (second: number, found: Sourced<LiveBoard>) => void) {
  const board = shallowRef<LiveBoard | null>(null)
  /** The second that the board shows: behind the clock while the service is slow. */
  const boardSecond = ref(0)
  /** Whether the board is as of the ride's start, because the service does not respond or is not asked. */
  const asOfStart = ref(false)
  const boardFailure = ref<string | null>(null)
  /** Whether a board of this ride is loading. */
  let loading = false
  /** Ranks the latest second that came while another one was loading. */
  let rankWaiting: (() => void) | null = null
  /** Number of the ride. Boards of an earlier one are ignored. */
  let ride = 0

  function clearBoard(): void {
    ride += 1
    loading = false
    rankWaiting = null
    ;[board.value, boardSecond.value, boardFailure.value] = [null, 0, null]
  }

  /** Ranks a second. One request to the service at a time, so that a slow service is not overloaded. */
  async function rank(source: BoardSource, sample: Sample): Promise<void> {
    if (loading) {
      rankWaiting = () => void rank(source, sample)
      return
    }
    const { second, output } = sample
    const found = source.board(second, output, BOARD_ROWS)
    if (!(found instanceof Promise)) return show(second, found)
    const current = ride
    loading = true
    try {
      const ranked = await found
      if (current === ride) show(second, ranked)
    } catch (error) {
      if (current === ride) boardFailure.value = messageOf(error, 'The board cannot be loaded.')
    }
    await source.rest()
    if (current !== ride) return
    loading = false
    const rankNext = rankWaiting
    rankWaiting = null
    rankNext?.()
  }

  function show(second: number, found: Sourced<LiveBoard>): void {
    ;[board.value, boardSecond.value, boardFailure.value] = [found.value, second, null]
    asOfStart.value = found.asOfStart
    onRanked(second, found)
  }

  return { board, boardSecond, asOfStart, boardFailure, clearBoard, rank }
}
