/** Here now: the race that is going on in a class. */
import { onScopeDispose, ref, shallowRef, watch, type Ref } from 'vue'

import { ApiError, raceBoard, races, type Race, type RaceBoard } from '../api/client'
import { listen } from '../api/live'
import { raceToShow } from '../race/here-now'
import { learn } from './names'

/** How often to ask while nothing is pushed, in milliseconds. */
const POLL_MS = 1000

/** `own` is the race that the rider rides, which is shown only where others ride it, too. */
export function useHereNow(classId: Ref<number>, own: () => number | null) {
  /** `unavailable`: this service has no races to tell of. */
  const state = ref<'loading' | 'none' | 'racing' | 'unavailable' | 'away'>('loading')
  const race = shallowRef<Race | null>(null)
  const standings = shallowRef<RaceBoard['standings']>([])
  let timer: ReturnType<typeof setTimeout> | undefined
  let leave: (() => void) | null = null
  let generation = 0
  let pushedMs = -Infinity

  function take(board: RaceBoard): void {
    learn(board.standings)
    standings.value = board.standings
  }

  function standingsPushed(pushed: RaceBoard): void {
    if (pushed.raceId !== race.value?.raceId) return
    pushedMs = performance.now()
    race.value = pushed
    take(pushed)
  }

  async function look(id: number, of: number): Promise<void> {
    try {
      const seen = await races(id)
      if (of !== generation) return
      const current = raceToShow(seen, own(), Date.now())
      race.value = current
      if (!current) {
        state.value = 'none'
      } else {
        leave ??= listen(id, { standings: standingsPushed })
        if (performance.now() - pushedMs > 2 * POLL_MS) take(await raceBoard(id, current.raceId))
        state.value = 'racing'
      }
    } catch (error) {
      if (of !== generation) return
      state.value = error instanceof ApiError && error.kind === 'missing' ? 'unavailable' : 'away'
    }
    if (of === generation && state.value !== 'unavailable')
      timer = setTimeout(() => void look(id, of), POLL_MS)
  }

  function stop(): void {
    generation += 1
    clearTimeout(timer)
    leave?.()
    leave = null
  }

  watch(
    classId,
    (id) => {
      stop()
      state.value = 'loading'
      standings.value = []
      void look(id, generation)
    },
    { immediate: true },
  )
  onScopeDispose(stop)
  return { state, race, standings }
}
