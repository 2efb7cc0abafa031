/** The pacer of a ride: its curve, from one small request, and the gap to it. */
import { computed, ref, shallowRef, watch } from 'vue'

import { pace } from '../api/client'
import { mayPass } from '../api/request'
import { curveOf, NO_PACER, paceQuery, type PacerAt, type PacerChoice } from '../race/pacer'
import { RACE_SECONDS } from '../race/output'
import type { Sample } from '../race/ride'
import { applyNames } from '../state/names'
import { pacer, pacerLabel } from '../state/pacer'
import type { RaceOnPage } from './useRace'
import { useRetry } from './useLoad'

type RaceOfPacer = Pick<RaceOnPage, 'phase' | 'racing' | 'sample' | 'identity'>

export function usePacer(classId: number, { phase, racing, sample, identity }: RaceOfPacer) {
  /** The pacer of this ride. It stays until the next ride begins, whatever another tab chooses. */
  const choice = shallowRef<PacerChoice>(NO_PACER)
  const curve = shallowRef<ReadonlyMap<number, number>>(new Map())
  /** `empty`: the pacer has no output in this class. */
  const state = ref<'none' | 'loading' | 'ready' | 'empty' | 'failed'>('none')
  /** The rider whose curve is the pacer, if it is the own best. */
  let racerId = identity.value.racerId
  let generation = 0
  // After the ride, the next one loads its own.
  const setRetry = useRetry(async () => {
    if (phase.value !== 'done') await load()
  })

  function choose(): void {
    racerId = identity.value.racerId
    const isRider = pacer.value.racerId === racerId
    choice.value = isRider ? { ...NO_PACER, kind: 'best' } : { ...pacer.value }
    void load()
  }

  async function load(): Promise<void> {
    const current = ++generation
    const isLate = racing.value
    const query = paceQuery(choice.value, racerId)
    curve.value = new Map()
    setRetry(false)
    state.value = query ? 'loading' : 'none'
    if (!query) return
    try {
      const found = await pace(classId, query)
      if (current !== generation) return
      applyNames(
        found.curves.flatMap(({ racerId, name }) =>
          racerId === undefined ? [] : [{ racerId, name }],
        ),
      )
      const outputs = curveOf(found)
      state.value = outputs.size > 0 ? 'ready' : 'empty'
      // A curve that is requested during the ride may have the ride's own outputs, up to this second.
      const ridden = isLate ? (sample.value?.second ?? 0) : 0
      curve.value = new Map([...outputs].filter(([second]) => second > ridden))
    } catch (error) {
      if (current !== generation) return
      setRetry(mayPass(error))
      state.value = 'failed'
    }
  }

  // Loaded again at every start: the class may have changed since the page was opened.
  const isStarting = computed(() => phase.value === 'loading')
  const wanted = computed(() =>
    [pacer.value.kind, pacer.value.racerId, identity.value.racerId, isStarting.value].join(),
  )
  watch(
    wanted,
    () => {
      if (!racing.value && phase.value !== 'done') choose()
    },
    { immediate: true },
  )

  const label = computed(() => pacerLabel(choice.value))
  /** The rider's output minus the pacer's at the last second; null where either is missing. */
  const gap = computed(() => (sample.value ? gapAt(sample.value) : null))

  /** Returns an output minus the pacer's at that second; null where the pacer has none. */
  function gapAt({ second, output }: Pick<Sample, 'second' | 'output'>): number | null {
    const other = at(second)
    return other === null ? null : output - other
  }

  function at(second: number): number | null {
    return curve.value.get(second) ?? null
  }

  function rowAt(second: number): PacerAt | null {
    const output = at(second)
    const { racerId } = choice.value
    return output === null ? null : { label: label.value, output, racerId }
  }

  /** Returns the pacer as a ride keeps it; undefined without one. */
  function kept(): { label: string; outputs: (number | null)[] } | undefined {
    if (curve.value.size === 0) return undefined
    const outputs = Array.from({ length: RACE_SECONDS }, (_, i) => at(i + 1))
    return { label: label.value, outputs }
  }

  return { state, label, gap, gapAt, at, rowAt, kept }
}

export type PacerOnPage = ReturnType<typeof usePacer>
