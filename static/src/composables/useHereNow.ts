/** The race that is ridden now in a class. */
import { computed, onScopeDispose, ref, shallowReactive, type Ref } from 'vue'

import { raceBoard, racePage, type RaceBoard } from '../api/client'
import { PUSHED_ROWS } from '../api/live'
import { raceToShow } from '../race/here-now'
import { applyNames } from '../state/names'
import { reachable, service } from '../state/service'
import { serviceTime } from '../state/service-time'
import { keepBoard } from './recent-boards'
import { useLive } from './useLive'

/** Interval between polls while the service pushes nothing, in milliseconds. */
const POLL_MS = 3000

/** `you` is the rider. A race that nobody else rides is not shown. */
export function useHereNow(classId: number, you: Ref<number>) {
  const boards = shallowReactive(new Map<number, RaceBoard>())
  const loadState = ref<'loading' | 'loaded' | 'failed'>('loading')
  /** `failed`: what is shown may be old. A service that is away is known before its connection is lost. */
  const state = computed(() => (service.state === 'away' ? 'failed' : loadState.value))
  const newestFirst = computed(() => [...boards.values()].sort((a, b) => b.startedAt - a.startedAt))
  const race = computed(() => raceToShow(newestFirst.value, you.value, service.now))
  const standings = computed(() => race.value?.standings ?? [])

  function show(board: RaceBoard): void {
    applyNames(board.standings)
    keepBoard(boards, board)
    loadState.value = 'loaded'
  }

  async function load(ended: AbortSignal): Promise<RaceBoard | null> {
    const { races } = await racePage(classId)
    if (ended.aborted) return null
    // The boards so far say who rides, and the list how far the races are by now.
    for (const [raceId, board] of boards) {
      const race = races.find((listed) => listed.raceId === raceId)
      if (race) boards.set(raceId, { ...board, ...race })
      else boards.delete(raceId)
    }
    const seen = races.map((race) => boards.get(race.raceId) ?? race)
    const shown = raceToShow(seen, you.value, serviceTime())
    return shown && raceBoard(classId, shown.raceId, { limit: PUSHED_ROWS })
  }

  /** Loads at intervals until the service pushes. What is on its way then is older than what is pushed. */
  async function poll(ended: AbortSignal, firstMs: number): Promise<void> {
    for (let waitMs = firstMs; ; waitMs = POLL_MS) {
      await new Promise((resolve) => setTimeout(resolve, waitMs))
      if (ended.aborted) return
      if (document.hidden) continue
      if (!reachable.value) {
        loadState.value = 'failed'
        continue
      }
      try {
        const board = await load(ended)
        if (ended.aborted) return
        if (board) show(board)
        loadState.value = 'loaded'
      } catch {
        if (!ended.aborted) loadState.value = 'failed'
      }
    }
  }

  /** Null while the service pushes. */
  let polling: AbortController | null = null
  function startPolling(firstMs: number): void {
    if (polling) return
    polling = new AbortController()
    void poll(polling.signal, firstMs)
  }
  function stopPolling(): void {
    polling?.abort()
    polling = null
  }

  // At once: a class without races pushes nothing at first.
  startPolling(0)
  useLive(classId, {
    pushing: () => {
      stopPolling()
      // Races of these boards may be over. Every race that is ridden is pushed within a second.
      boards.clear()
      loadState.value = 'loaded'
    },
    // Called after every attempt to connect: polling that has begun goes on.
    closed: () => startPolling(POLL_MS),
    standings: show,
  })
  onScopeDispose(stopPolling)
  return { state, race, standings }
}
