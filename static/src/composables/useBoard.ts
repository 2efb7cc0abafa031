/** A page of the class's board, at the second of the address. */
import { computed, ref, shallowRef, watch } from 'vue'

import { leaderboard, type Leaderboard } from '../api/client'
import { isRefused, messageOf } from '../api/request'
import { isolated } from '../format'
import { minutes } from '../race/clock'
import { applyNames, nameOf } from '../state/names'
import { boardState, period } from '../state/service'
import type { ExploreAddressOnPage } from './useExploreAddress'
import { useRetriedLoad } from './useLoad'

const PAGE_ROWS = 12

const FINISHES = { by: 'finish' } as const

export function useBoard(classId: number, { address, adjust }: ExploreAddressOnPage) {
  const board = shallowRef<Leaderboard | null>(null)
  /** The address of the rows. It is an earlier one while the present board is loading, and after it failed. */
  const shown = shallowRef(address.value)
  const failure = ref('')
  /** Message that the racer of the last search is not on the board. It stays until another board or racer is shown. */
  const notFound = ref('')
  const load = useRetriedLoad(async (isStale, retryLater) => {
    const wanted = address.value
    const { second, board: kind, around, page: cursor } = wanted
    const at = kind === 'second' ? { second } : kind === 'finish' ? FINISHES : {}
    const page = cursor !== null ? { cursor } : around !== null ? { around } : {}
    try {
      // A page behind a cursor was reached from the racer's own.
      if (cursor === null && around !== null && !(await isOnBoard(around, at))) {
        // The address may have a later search by now.
        if (isStale()) return
        const name = isolated(nameOf(around))
        if (kind === 'finish') notFound.value = `${name} has not finished a race in this class.`
        else {
          const where = kind === 'race' ? 'in this class' : `at ${minutes(second)}`
          notFound.value = `${name} has no best ${where}.`
        }
        adjust({ around: null })
        return
      }
      const found = await leaderboard(classId, { ...at, ...page, limit: PAGE_ROWS })
      // All racers may have passed the cursor since. Then the page is empty, and the first one is shown.
      if (cursor !== null && found.standings.length === 0) {
        if (!isStale()) adjust({ page: null })
        return
      }
      applyNames(found.standings)
      // Shown even if it is stale: while the seconds play, a slow network is always behind.
      ;[board.value, shown.value, failure.value] = [found, wanted, '']
    } catch (error) {
      if (isStale()) return
      // The address has a cursor of another board: the first page is shown.
      if (cursor !== null && isRefused(error)) return adjust({ page: null })
      retryLater(error)
      failure.value = messageOf(error, 'The board cannot be loaded.')
    }
  })

  /** Checked before the page around a racer is loaded, because the console would show its 404 as an error. */
  async function isOnBoard(
    racerId: number,
    at: { second?: number; by?: 'finish' },
  ): Promise<boolean> {
    const { standings } = await leaderboard(classId, { ...at, racers: [racerId], limit: 1 })
    return standings.length > 0
  }

  const which = computed(() => {
    const { second, board, around, page } = address.value
    return [second, board, around, page].join()
  })
  watch(
    () => {
      const { second, board, around } = address.value
      return [second, board, around] as const
    },
    ([second, board, around], [secondBefore, boardBefore]) => {
      // Nobody is in the middle after a search that found nobody on the board.
      if (around !== null || second !== secondBefore || board !== boardBefore) notFound.value = ''
    },
  )
  watch(
    // Finishes change without the state of the class.
    [which, () => boardState(classId), () => address.value.board === 'finish' && period.value],
    ([, state]) => {
      // An address that is opened directly comes before the classes. Their arrival would load the board again.
      if (state !== undefined) void load()
    },
    { immediate: true },
  )

  return { board, shown, failure, notFound }
}

export type BoardOnPage = ReturnType<typeof useBoard>
