/** The recent races of a class, with winner and own place, and the one that is opened. */
import { useThrottleFn } from '@vueuse/core'
import { computed, ref, shallowReactive, shallowRef, watch } from 'vue'

import { raceBoard, races, type Race, type RaceBoard } from '../api/client'
import { ApiError, messageOf } from '../api/request'
import type { Subscriber } from '../api/live'
import { learn } from '../state/names'
import { rider } from '../state/rider'
import { classOf } from '../state/service'
import type { ExploreAddressOnPage } from './useExploreAddress'

/** Number of races that are listed at first, and that every step adds: each needs a request. */
const RACES_STEP = 8

/** Maximum number of rows of a listed race. The own place is shown if it is among them. */
const LISTED_ROWS_MAX = 100

/** Maximum number of rows of the opened race: the service's limit. */
const OPENED_ROWS_MAX = 1000

/** Least time between loads of an opened race that is too large to be pushed, in milliseconds. */
const RELOAD_MS = 2000

export function useRaces(classId: number, { address }: ExploreAddressOnPage) {
  const all = shallowRef<Race[] | null>(null)
  const boards = shallowReactive(new Map<number, RaceBoard>())
  const shownMax = ref(RACES_STEP)
  const failure = ref('')
  const loading = new Set<number>()
  let isLive = false

  const listed = computed(() =>
    (all.value ?? []).slice(0, shownMax.value).map((race) => {
      const board = boards.get(race.raceId)
      const own = board?.standings.find(({ racerId }) => racerId === rider.value.racerId)
      return { race, first: board?.standings[0] ?? null, own: own ?? null }
    }),
  )
  const hasMore = computed(() => (all.value?.length ?? 0) > shownMax.value)
  const opened = computed(() =>
    address.value.race === null ? null : (boards.get(address.value.race) ?? null),
  )

  function showMore(): void {
    shownMax.value += RACES_STEP
  }

  /** Takes a board that was pushed. It has the first rows only. */
  function show(board: RaceBoard): void {
    learn(board.standings)
    const isWhole = board.standings.length >= board.racers
    if (board.raceId === address.value.race && !isWhole) void reloadOpened()
    else take(board)
    if (all.value === null) return
    const others = all.value.filter(({ raceId }) => raceId !== board.raceId)
    all.value = newestFirst([...others, board])
  }

  const reloadOpened = useThrottleFn(() => open(address.value.race), RELOAD_MS, true)

  /** Takes a board, unless the one that is there is newer or has more rows. */
  function take(board: RaceBoard): void {
    const before = boards.get(board.raceId)
    const isOlder = before && before.lastSecond > board.lastSecond
    const isShorter =
      before?.lastSecond === board.lastSecond && before.standings.length > board.standings.length
    if (!isOlder && !isShorter) boards.set(board.raceId, board)
  }

  async function refresh(): Promise<void> {
    try {
      const before = new Set(all.value)
      const found = await races(classId)
      // Pushed meanwhile, and so newer than the response.
      const pushed = (all.value ?? []).filter((race) => !before.has(race))
      const others = found.filter((race) => pushed.every(({ raceId }) => raceId !== race.raceId))
      all.value = newestFirst([...others, ...pushed])
    } catch {
      // The notice at the top says what is wrong.
    }
  }

  /** Loads the boards of listed races, one after another. */
  async function loadBoards(): Promise<void> {
    for (const { raceId } of listed.value.map(({ race }) => race)) {
      if (boards.has(raceId) || loading.has(raceId)) continue
      loading.add(raceId)
      await load(raceId, LISTED_ROWS_MAX).catch(() => {}) // listed without its winner
      loading.delete(raceId)
    }
  }

  async function load(raceId: number, limit: number): Promise<void> {
    const board = await raceBoard(classId, raceId, limit)
    learn(board.standings)
    take(board)
  }

  async function open(raceId: number | null): Promise<void> {
    failure.value = ''
    if (raceId === null) return
    try {
      await load(raceId, OPENED_ROWS_MAX)
    } catch (error) {
      // Another race may be open by now.
      if (raceId !== address.value.race) return
      const isMissing = error instanceof ApiError && error.kind === 'missing'
      failure.value = isMissing
        ? 'The service does not keep that race any more.'
        : messageOf(error, 'The race cannot be loaded.')
    }
  }

  void refresh()
  // A string: an array would count as changed at every push and every board.
  watch(() => listed.value.map(({ race }) => race.raceId).join(), loadBoards)
  watch(() => address.value.race, open, { immediate: true })
  watch(
    () => classOf(classId)?.stateHash,
    async () => {
      if (isLive) return
      await refresh()
      await open(address.value.race)
    },
  )

  const subscriber: Subscriber = {
    opened: () => {
      isLive = true
      // Loads changes that were missed, and the whole list if the service was starting.
      void refresh()
      if (failure.value) void open(address.value.race)
    },
    closed: () => (isLive = false),
    standings: show,
  }
  return { all, listed, hasMore, opened, failure, showMore, subscriber }
}

function newestFirst(races: Race[]): Race[] {
  return races.sort((a, b) => b.startedAt - a.startedAt)
}

export type RacesOnPage = ReturnType<typeof useRaces>
