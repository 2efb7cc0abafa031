/** The board of the rivals with the rider in it: second by second in a race, otherwise over the whole race. */
import { useDocumentVisibility } from '@vueuse/core'
import { computed, ref, shallowRef, watch } from 'vue'

import { leaderboard } from '../api/client'
import { grouped, type GroupStanding } from '../race/board'
import type { Sample } from '../race/ride'
import type { Sourced } from '../state/board-source'
import { applyNames } from '../state/names'
import { rivals } from '../state/rivals'
import { boardState } from '../state/service'
import type { RaceOnPage } from './useRace'
import { useRetriedLoad } from './useLoad'

type RaceOfRivals = Pick<RaceOnPage, 'racing' | 'sample' | 'source' | 'identity'>

export function useRivals(classId: number, { racing, sample, source, identity }: RaceOfRivals) {
  const rows = shallowRef<readonly GroupStanding[]>([])
  /** The rivals for whom the rows were loaded. */
  const loadedIds = shallowRef<readonly number[]>([])
  /** The second of the rows; null: the whole race. */
  const second = ref<number | null>(null)
  /** Whether the rows are as of the ride's start. */
  const asOfStart = ref(false)
  /** `failed`: the last load failed, and the rows may be old. */
  const state = ref<'loading' | 'loaded' | 'failed'>('loading')
  const ids = computed(() => rivals.value.map(({ racerId }) => racerId))

  const load = useRetriedLoad(async (_, retryLater) => {
    const wanted = ids.value
    const last = racing.value ? sample.value : null
    try {
      const found = await rowsOf(wanted, last)
      // Of another choice, or of a race that is over: such a change loads the rows again.
      if (wanted !== ids.value || (last !== null) !== (racing.value && sample.value !== null))
        return
      ;[rows.value, loadedIds.value] = [found.value, wanted]
      ;[second.value, asOfStart.value] = [last?.second ?? null, found.asOfStart]
      state.value = 'loaded'
    } catch (error) {
      retryLater(error)
      state.value = 'failed'
    }
    if (last !== null) await source.value?.rest()
  })

  async function rowsOf(
    wanted: readonly number[],
    last: Sample | null,
  ): Promise<Sourced<GroupStanding[]>> {
    if (wanted.length === 0) return { value: [], asOfStart: false }
    if (last && source.value) return source.value.group(last.second, last.output, wanted)
    const racers = [...wanted, identity.value.racerId]
    const { standings } = await leaderboard(classId, { racers, limit: racers.length })
    applyNames(standings)
    return { value: grouped(standings), asOfStart: false }
  }

  /** Null in a race, whose seconds load the board. */
  const stateOfBoards = computed(() => (racing.value ? null : boardState(classId)))
  const visibility = useDocumentVisibility()
  watch(
    [ids, sample, racing, stateOfBoards, () => identity.value.racerId, visibility],
    () => {
      // An address that is opened directly comes before the classes. Their arrival would load the board again.
      if (stateOfBoards.value !== undefined && visibility.value === 'visible') void load()
    },
    { immediate: true },
  )

  return { ids, rows, loadedIds, second, asOfStart, state }
}
