/** A page of the recent races of a class, with winner and own place. */
import { useThrottleFn } from '@vueuse/core'
import { computed, ref, shallowReactive, shallowRef, watch } from 'vue'

import { raceBoard, racePage, type RaceBoard, type RacePage } from '../api/client'
import { PUSHED_ROWS, type Subscriber } from '../api/live'
import { isRefused, messageOf } from '../api/request'
import { mayGoOn } from '../race/race-state'
import { applyNames } from '../state/names'
import { rider } from '../state/rider'
import { boardState, period } from '../state/service'
import { serviceTime } from '../state/service-time'
import { keepBoard } from './recent-boards'
import type { ExploreAddressOnPage } from './useExploreAddress'
import { useOpenedRace } from './useOpenedRace'
import { useRetriedLoad } from './useLoad'

/** Number of races of a page: each needs a request. */
const PAGE_RACES = 8

/** Least time between loads of the list while new races are pushed, in milliseconds. */
const RELOAD_MS = 1000

export function useRaces(classId: number, exploreAddress: ExploreAddressOnPage) {
  const { address, adjust } = exploreAddress
  const page = shallowRef<RacePage | null>(null)
  const boards = shallowReactive(new Map<number, RaceBoard>())
  const failure = ref('')
  const opened = useOpenedRace(classId, exploreAddress)
  /** Whether the service pushes. */
  let isLive = false
  /** Whether a connection was lost, and with it what was pushed meanwhile: until the boards are loaded again. */
  let wasLost = false

  const listed = computed(() =>
    (page.value?.races ?? []).map((race) => {
      const board = boards.get(race.raceId) ?? null
      const own = board?.standings.find(({ racerId }) => racerId === rider.value.racerId)
      // A pushed board may be newer than the list.
      const latest = board && board.lastSecond >= race.lastSecond ? board : race
      return { race: latest, first: board?.standings[0] ?? null, own: own ?? null }
    }),
  )

  /** Shows a pushed board. */
  function show(board: RaceBoard): void {
    applyNames(board.standings)
    keepBoard(boards, board, isListed)
    opened.show(board)
    const { value: shown } = page
    if (!shown || address.value.races !== null) return
    const oldest = shown.next === null ? -Infinity : (shown.races.at(-1)?.startedAt ?? -Infinity)
    if (!isListed(board.raceId) && board.startedAt >= oldest) void reload()
  }

  function isListed(raceId: number): boolean {
    return page.value?.races.some((race) => race.raceId === raceId) ?? false
  }

  const refresh = useRetriedLoad(async (isStale, retryLater) => {
    const { races: cursor } = address.value
    try {
      const query = { limit: PAGE_RACES, ...(cursor !== null && { cursor }) }
      const found = await racePage(classId, query)
      if (cursor !== address.value.races) return
      // The races of an old address may not be kept any more: the newest are shown.
      if (cursor !== null && found.races.length === 0) {
        if (!isStale()) adjust({ races: null })
        return
      }
      ;[page.value, failure.value] = [found, '']
    } catch (error) {
      if (isStale()) return
      // The address has a cursor of another list: the first page is shown.
      if (cursor !== null && isRefused(error)) return adjust({ races: null })
      retryLater(error)
      failure.value = messageOf(error, 'The races cannot be loaded.')
    }
  })

  const reload = useThrottleFn(refresh, RELOAD_MS, true)

  /** Loads the boards that the list needs or that are older than it, one after another. */
  const loadBoards = useRetriedLoad(async (isStale, retryLater) => {
    let hasFailed = false
    for (const race of page.value?.races ?? []) {
      if (isStale()) return
      const { raceId, lastSecond, finished } = race
      const before = boards.get(raceId)
      const isCurrent = before && before.lastSecond >= lastSecond && (before.finished || !finished)
      // The list has the first racer’s second only. Changes of the others are pushed.
      const isPushed = isLive && !wasLost
      if (isCurrent && (isPushed || !mayGoOn(race, serviceTime()))) continue
      try {
        // The own place is shown if it is among these rows.
        const board = await raceBoard(classId, raceId, { limit: PUSHED_ROWS })
        applyNames(board.standings)
        // A board that was pushed meanwhile is newer.
        if (boards.get(raceId) === before) boards.set(raceId, board)
      } catch (error) {
        // Listed without its winner, or with an earlier one, until then.
        retryLater(error)
        hasFailed = true
      }
    }
    if (isLive && !hasFailed && !isStale()) wasLost = false
  })

  watch(page, loadBoards)
  watch(() => address.value.races, refresh, { immediate: true })
  watch([() => boardState(classId), period], async ([, now], [before, earlier]) => {
    // The state becomes known for the first time while the list is loading.
    if (before === undefined) return
    // While the service pushes, only what a cache sent may be old.
    if (isLive && now === earlier) return
    await refresh()
    const { race } = address.value
    // The console would show its 404 again and again.
    if (race !== null && opened.isMissing.value && !isListed(race)) return
    await (isLive ? opened.loadUnpushed() : opened.load())
  })

  const subscriber: Subscriber = {
    pushing: () => {
      isLive = true
      // Loads changes that were missed, and what failed while the service was starting.
      if (wasLost || failure.value) void refresh()
      const hasFailed = opened.failure.value !== '' && !opened.isMissing.value
      if (wasLost || hasFailed) void opened.load()
    },
    closed: () => {
      isLive = false
      wasLost = true
    },
    standings: show,
  }
  return { page, listed, failure, opened, subscriber }
}

export type RacesOnPage = ReturnType<typeof useRaces>
