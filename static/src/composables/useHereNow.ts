/** The race that is ridden now in a class. */
import { computed, onScopeDispose, ref, shallowReactive, type Ref } from 'vue'

import { raceBoard, racePage, type RaceBoard } from '../api/client'
import { subscribe } from '../api/live'
import { raceToShow } from '../race/here-now'
import { applyNames } from '../state/names'
import { service } from '../state/service'
import { keepBoard } from './recent-boards'

/** Interval between polls while the service pushes nothing, in milliseconds. */
const POLL_MS = 3000

/** Maximum number of rows of a race: as many as the service pushes. */
const ROWS_MAX = 50

/** `own` is the rider's race, which is shown only if others ride it, too. */
export function useHereNow(classId: number, own: Ref<number | null>) {
  const boards = shallowReactive(new Map<number, RaceBoard>())
  /** `away`: the service does not respond, and what is shown may be old. */
  const state = ref<'loading' | 'loaded' | 'away'>('loading')
  const newestFirst = computed(() => [...boards.values()].sort((a, b) => b.startedAt - a.startedAt))
  const race = computed(() => raceToShow(newestFirst.value, own.value, service.now))
  const standings = computed(() => race.value?.standings ?? [])

  function show(board: RaceBoard): void {
    applyNames(board.standings)
    keepBoard(boards, board)
    state.value = 'loaded'
  }

  async function load(): Promise<RaceBoard | null> {
    const { races } = await racePage(classId)
    const shown = raceToShow(races, own.value, Date.now())
    return shown && raceBoard(classId, shown.raceId, { limit: ROWS_MAX })
  }

  /** Loads at intervals until the service pushes. What is on its way then is older than what is pushed. */
  async function poll(ended: AbortSignal): Promise<void> {
    for (;;) {
      await new Promise((resolve) => setTimeout(resolve, POLL_MS))
      if (ended.aborted) return
      if (document.hidden) continue
      try {
        const board = await load()
        if (ended.aborted) return
        if (board) show(board)
        state.value = 'loaded'
      } catch {
        if (!ended.aborted) state.value = 'away'
      }
    }
  }

  /** Null while the service pushes. */
  let polling: AbortController | null = null
  function startPolling(): void {
    if (polling) return
    polling = new AbortController()
    void poll(polling.signal)
  }
  function stopPolling(): void {
    polling?.abort()
    polling = null
  }

  startPolling()
  const unsubscribe = subscribe(classId, {
    opened: () => {
      stopPolling()
      state.value = 'loaded'
    },
    // Called after every attempt to connect: polling that has begun goes on.
    closed: startPolling,
    standings: show,
  })
  onScopeDispose(() => {
    unsubscribe()
    stopPolling()
  })
  return { state, race, standings }
}
