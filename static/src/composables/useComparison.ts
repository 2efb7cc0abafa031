/** The curves of racers, side by side with the class record. */
import { computed, reactive, ref, shallowRef, watch } from 'vue'

import { curve, leaderboard, records, type Curve } from '../api/client'
import { messageOf } from '../api/request'
import type { CurveLine } from '../components/curve-line'
import { History } from '../race/dataset'
import { COMPARED_MAX } from '../race/explore-address'
import type { Best } from '../race/new-bests'
import { applyNames, nameOf } from '../state/names'
import { rider } from '../state/rider'
import { latestOnly } from './latest-only'
import type { ExploreAddressOnPage } from './useExploreAddress'
import { useRetried, useRetry } from './useRetried'

const COLORS = ['--you', '--line-a', '--line-b', '--line-c', '--line-d', '--line-e']
const DASHES = [[], [9, 4], [3, 3], [12, 3, 3, 3], [6, 6], [1, 4]]

export function useComparison(classId: number, { address, go }: ExploreAddressOnPage) {
  const curves = reactive(new Map<number, Curve>())
  /** The class record by second; null until it is loaded. */
  const record = shallowRef<ReadonlyMap<number, number> | null>(null)
  /** New bests by second. They may be newer than the record that is being loaded. */
  const raised = new Map<number, number>()
  /** The racers that are compared while none are chosen. */
  const suggested = ref<number[]>([])
  const failure = ref('')
  const retryAfter = useRetry(() => loadCurves())
  const racers = computed(() => address.value.racers ?? suggested.value)

  /** Returns the racers with one more. The first ones leave when there are too many. */
  function racersWith(racerId: number): number[] {
    if (racers.value.includes(racerId)) return racers.value
    return [...racers.value, racerId].slice(-COMPARED_MAX)
  }

  function add(racerId: number): void {
    go({ racers: racersWith(racerId) })
  }

  function remove(racerId: number): Promise<void> {
    return go({ racers: racers.value.filter((other) => other !== racerId) })
  }

  async function loadRecord(): Promise<void> {
    const loaded = new History(await records(classId)).records()
    record.value = new Map([...loaded].map(([second, { output }]) => [second, output]))
    for (const [second, output] of raised) raise(second, output)
  }

  /** Suggests the rider and the best two of the class. */
  async function suggest(): Promise<void> {
    const { standings } = await leaderboard(classId, { limit: 2 })
    applyNames(standings)
    const own = rider.value.guest ? [] : [rider.value.racerId]
    suggested.value = [...new Set([...own, ...standings.map(({ racerId }) => racerId)])]
  }

  const loadCurves = latestOnly(async (isStale) => {
    failure.value = ''
    for (const racerId of racers.value) {
      if (isStale()) return
      if (curves.has(racerId)) continue
      try {
        const found = await curve(classId, racerId)
        applyNames([found])
        curves.set(racerId, found)
      } catch (error) {
        retryAfter(error)
        failure.value = messageOf(error, 'The curve cannot be loaded.')
      }
    }
  })

  /** Returns the class record at a second. Until it is loaded nothing is known to beat it. */
  function recordAt(second: number): number | null {
    return record.value ? (record.value.get(second) ?? null) : Infinity
  }

  /** Raises the class record where new bests beat it. */
  function raiseRecords(bests: readonly Best[]): void {
    for (const { second, output } of bests) {
      if (record.value) raise(second, output)
      else raised.set(second, Math.max(output, raised.get(second) ?? 0))
    }
  }

  function raise(second: number, output: number): void {
    if (output > (record.value?.get(second) ?? -1)) {
      record.value = new Map(record.value).set(second, output)
    }
  }

  // The curves are shown also without the record or suggestions.
  useRetried(loadRecord)
  useRetried(suggest)
  watch(racers, loadCurves, { immediate: true })

  const lines = computed<CurveLine[]>(() => {
    const own = racers.value.map((racerId, i) => ({
      label: nameOf(racerId),
      values: new Map(curves.get(racerId)?.seconds.map((point) => [point.second, point.output])),
      color: COLORS[i] ?? '--ink',
      dash: DASHES[i] ?? [],
      width: 2.2,
    }))
    if (!record.value || record.value.size === 0) return own
    const dash = [2, 3]
    const first = { label: 'Class record', values: record.value, color: '--soft', width: 1.5, dash }
    return [first, ...own]
  })
  const points = computed(() =>
    racers.value.map((racerId) => ({
      racerId,
      point: curves.get(racerId)?.seconds.find((at) => at.second === address.value.second) ?? null,
    })),
  )

  return { racers, lines, points, recordAt, failure, add, remove, racersWith, raiseRecords }
}

export type ComparisonOnPage = ReturnType<typeof useComparison>
