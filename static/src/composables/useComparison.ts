/** The curves of racers, side by side with the class record. */
import { useThrottleFn } from '@vueuse/core'
import { computed, reactive, ref, shallowRef, watch } from 'vue'

import { curve, leaderboard, records, type Curve } from '../api/client'
import { messageOf } from '../api/request'
import type { CurveLine } from '../race/curve-line'
import { History, type Effort } from '../race/dataset'
import { COMPARED_MAX } from '../race/explore-address'
import type { Best } from '../race/new-bests'
import { applyNames, nameOf } from '../state/names'
import { rider } from '../state/rider'
import { boardState } from '../state/service'
import type { ExploreAddressOnPage } from './useExploreAddress'
import { useLoad, useRetriedLoad } from './useLoad'

const COLORS = ['--you', '--line-a', '--line-b', '--line-c', '--line-d', '--line-e']
const DASHES = [[], [9, 4], [3, 3], [12, 3, 3, 3], [6, 6], [1, 4]]

/** Least time between loads while the class changes, in milliseconds: each is up to 13 requests. */
const RELOAD_MS = 10_000

/** The best effort at each second. */
type Records = ReadonlyMap<number, Effort>

export function useComparison(classId: number, { address, go }: ExploreAddressOnPage) {
  const curves = reactive(new Map<number, Curve>())
  /** The state of the class's boards for which each curve was loaded. */
  const loadedAt = new Map<number, string>()
  /** The class records, by second; null until they are loaded. */
  const classRecords = shallowRef<Records | null>(null)
  /** The highest pushed best by second, since the class records were requested. Those that are loaded may lack it. */
  let raised: Records = new Map()
  /** The racers that are compared while none are chosen. */
  const suggested = ref<number[]>([])
  const failure = ref('')
  const racers = computed(() => address.value.racers ?? suggested.value)
  /** The racers in a shared address, also suggested ones: others are suggested elsewhere. Null while there are none. */
  const shared = computed(
    () => address.value.racers ?? (suggested.value.length > 0 ? suggested.value : null),
  )

  /** Returns the racers with one more. The first ones leave when there are too many. */
  function racersWith(racerId: number): number[] {
    if (racers.value.includes(racerId)) return racers.value
    return [...racers.value, racerId].slice(-COMPARED_MAX)
  }

  function add(racerId: number): void {
    void go({ racers: racersWith(racerId) })
  }

  function remove(racerId: number): Promise<void> {
    return go({ racers: racers.value.filter((other) => other !== racerId) })
  }

  async function loadClassRecords(): Promise<void> {
    raised = new Map()
    let loaded: Records = new History(await records(classId)).classRecords()
    for (const [second, effort] of raised) loaded = withBest(loaded, { second, ...effort })
    classRecords.value = loaded
  }

  const state = () => boardState(classId)

  /** Whether the class had no racers when they were suggested. */
  let isEmpty = false
  /** Suggests the rider and the best two of the class. */
  async function suggest(): Promise<void> {
    const { standings } = await leaderboard(classId, { limit: 2 })
    isEmpty = standings.length === 0
    applyNames(standings)
    const own = rider.value.guest ? [] : [rider.value.racerId]
    suggested.value = [...new Set([...own, ...standings.map(({ racerId }) => racerId)])]
  }

  const loadCurves = useRetriedLoad(async (isStale, retryLater) => {
    let failed = ''
    for (const racerId of racers.value) {
      const current = state()
      // The state becomes known by the first poll, and then the curves are loaded.
      if (isStale() || current === undefined) return
      if (loadedAt.get(racerId) === current) continue
      try {
        const found = await curve(classId, racerId)
        applyNames([found])
        curves.set(racerId, found)
        loadedAt.set(racerId, current)
      } catch (error) {
        retryLater(error)
        failed = messageOf(error, 'The curve cannot be loaded.')
      }
    }
    // Set at the end: a message that came and went would be read again at every try.
    failure.value = failed
  })

  /** Returns the class record at a second. Until they are loaded nothing is known to beat one. */
  function classRecordAt(second: number): Effort | null {
    return classRecords.value
      ? (classRecords.value.get(second) ?? null)
      : { racerId: 0, output: Infinity }
  }

  /** Raises the class record where new bests beat it. */
  function raiseClassRecords(bests: readonly Best[]): void {
    for (const best of bests) {
      raised = withBest(raised, best)
      if (classRecords.value) classRecords.value = withBest(classRecords.value, best)
    }
  }

  // The curves are shown also without the class record or suggestions.
  const reloadClassRecords = useLoad(loadClassRecords)
  const suggestAgain = useLoad(suggest)
  const reload = useThrottleFn(
    () => {
      void reloadClassRecords()
      void loadCurves()
      if (isEmpty) void suggestAgain()
    },
    RELOAD_MS,
    true,
  )
  watch(
    racers,
    () => {
      failure.value = ''
      void loadCurves()
    },
    { immediate: true },
  )
  // Not all bests are pushed: none while the page is hidden, and 50 at a time.
  watch(state, (_, before) => void (before === undefined ? loadCurves() : reload()))

  const lines = computed<CurveLine[]>(() => {
    const own = racers.value.map((racerId, i) => ({
      label: nameOf(racerId),
      values: new Map(curves.get(racerId)?.seconds.map((point) => [point.second, point.output])),
      color: COLORS[i] ?? '--ink',
      dash: DASHES[i] ?? [],
      width: 2.2,
    }))
    if (!classRecords.value || classRecords.value.size === 0) return own
    const dash = [2, 3]
    const values = new Map([...classRecords.value].map(([second, { output }]) => [second, output]))
    const first = { label: 'Class record', values, color: '--soft', width: 1.5, dash }
    return [first, ...own]
  })
  /** The racers at the second. `point` is null without a best there, and undefined until the curve is loaded. */
  const points = computed(() =>
    racers.value.map((racerId) => {
      const seconds = curves.get(racerId)?.seconds
      const point = seconds?.find((at) => at.second === address.value.second)
      return { racerId, point: seconds ? (point ?? null) : undefined }
    }),
  )

  return {
    racers,
    shared,
    lines,
    points,
    classRecordAt,
    failure,
    add,
    remove,
    racersWith,
    raiseClassRecords,
  }
}

/** Returns the records with a best that beats them; the same ones if it does not. */
function withBest(records: Records, { second, racerId, output }: Best): Records {
  if (output <= (records.get(second)?.output ?? -1)) return records
  return new Map(records).set(second, { racerId, output })
}

export type ComparisonOnPage = ReturnType<typeof useComparison>
