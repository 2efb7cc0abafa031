/** A page of the standings of the race that is opened, and the rider's own row. */
import { useThrottleFn } from '@vueuse/core'
import { computed, shallowRef, watch } from 'vue'

import { raceBoard, type RaceBoard, type Standing } from '../api/client'
import { PUSHED_ROWS } from '../api/live'
import { ApiError, messageOf } from '../api/request'
import { applyNames } from '../state/names'
import { rider } from '../state/rider'
import type { ExploreAddressOnPage } from './useExploreAddress'
import { useRetriedLoad } from './useLoad'

/** Least time between loads of a page that is not pushed, in milliseconds. */
const RELOAD_MS = 2000

export function useOpenedRace(classId: number, { address, adjust }: ExploreAddressOnPage) {
  const board = shallowRef<RaceBoard | null>(null)
  const own = shallowRef<Standing | null>(null)
  /** The error of the last load; null if it succeeded. */
  const failed = shallowRef<unknown>(null)
  /** Whether the service did not have the race at the last load. */
  const isMissing = computed(
    () => failed.value instanceof ApiError && failed.value.kind === 'missing',
  )
  const failure = computed(() => {
    if (failed.value === null) return ''
    return isMissing.value
      ? 'The service does not have that race, or not any more.'
      : messageOf(failed.value, 'The race cannot be loaded.')
  })
  /** Number of pushed boards that were shown. A load that began before the last of them is older. */
  let pushes = 0
  /** The value of `pushes` at the last call of `loadUnpushed`. */
  let earlierPushes = 0
  const which = () => [address.value.race, address.value.rows].join()

  const load = useRetriedLoad(async (isStale, retryLater) => {
    const { race, rows } = address.value
    if (race === null) return
    const wanted = which()
    const before = pushes
    // Another race may be open by now.
    const isOutdated = () => wanted !== which() || before !== pushes
    try {
      const { racerId } = rider.value
      const [page, ownRow] = await Promise.all([
        // An offset, not a cursor: a cursor names an output, and outputs change every second while the race goes on.
        raceBoard(classId, race, { limit: PUSHED_ROWS, offset: rows }),
        raceBoard(classId, race, { racers: [racerId], limit: 1 }),
      ])
      applyNames(page.standings)
      if (isOutdated()) return
      // The race has no more rows than the address leaves out: the first page is shown.
      if (rows > 0 && page.standings.length === 0) {
        if (!isStale()) adjust({ rows: 0 })
        return
      }
      ;[board.value, own.value, failed.value] = [page, ownRow.standings[0] ?? null, null]
    } catch (error) {
      if (isStale() || isOutdated()) return
      retryLater(error)
      failed.value = error
    }
  })

  const reload = useThrottleFn(load, RELOAD_MS, true)

  /** Shows a pushed board if it is the whole race; otherwise loads the page. */
  function show(pushed: RaceBoard): void {
    if (pushed.raceId !== address.value.race) return
    const isWhole = address.value.rows === 0 && pushed.standings.length >= pushed.racers
    if (!isWhole) return void reload()
    if (board.value?.raceId === pushed.raceId && board.value.lastSecond > pushed.lastSecond) return
    pushes += 1
    failed.value = null
    board.value = pushed
    // The rider's own row is among them, if there is one.
    own.value = null
  }

  /** Loads the page, unless a push was shown since the last call: what a cache sends would be older. */
  async function loadUnpushed(): Promise<void> {
    const isPushed = pushes > earlierPushes
    earlierPushes = pushes
    if (!isPushed) await load()
  }

  const opened = computed(() => (board.value?.raceId === address.value.race ? board.value : null))
  /** The rows of the page, and the rider's own wherever it is. */
  const rows = computed(() => {
    const page = opened.value?.standings ?? []
    const { value: row } = own
    if (!row || page.some(({ racerId }) => racerId === row.racerId)) return page
    return [...page, row].sort((a, b) => a.rank - b.rank || a.racerId - b.racerId)
  })

  /** The pages before and after, each as the number of rows before it. */
  const pages = computed(() => {
    const { rows: before } = address.value
    const after = before + PUSHED_ROWS
    return {
      previous: before > 0 ? Math.max(0, before - PUSHED_ROWS) : null,
      next: after < (opened.value?.racers ?? 0) ? after : null,
    }
  })

  watch(which, () => (failed.value = null))
  watch([which, () => rider.value.racerId], load, { immediate: true })

  return { opened, rows, pages, failure, isMissing, load, loadUnpushed, show }
}
