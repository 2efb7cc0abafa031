/** The race that is ridden now in a class. */
import { useTimeoutPoll } from '@vueuse/core'
import { computed, onScopeDispose, ref, shallowReactive, type Ref } from 'vue'

import { raceBoard, racePage, type RaceBoard } from '../api/client'
import { subscribe } from '../api/live'
import { raceToShow } from '../race/here-now'
import { applyNames } from '../state/names'
import { service } from '../state/service'

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
    boards.set(board.raceId, board)
    state.value = 'loaded'
  }

  async function poll(): Promise<void> {
    if (document.hidden) return
    try {
      const { races } = await racePage(classId)
      const shown = raceToShow(races, own.value, Date.now())
      if (shown) show(await raceBoard(classId, shown.raceId, { limit: ROWS_MAX }))
      state.value = 'loaded'
    } catch {
      state.value = 'away'
    }
  }

  // While the service pushes nothing.
  const polling = useTimeoutPoll(poll, POLL_MS)
  const unsubscribe = subscribe(classId, {
    opened: () => {
      polling.pause()
      state.value = 'loaded'
    },
    // Called after every attempt to connect: polling that has begun goes on.
    closed: polling.resume,
    standings: show,
  })
  onScopeDispose(unsubscribe)
  return { state, race, standings }
}
