/** The best of every class over the whole race. */
import { shallowReactive, watch } from 'vue'

import { leaderboard, type Standing } from '../api/client'
import { applyNames } from '../state/names'
import { boardState, service } from '../state/service'
import { useRetriedLoad } from './useLoad'

/** Returns the class record by class. Null: nobody has ridden the class. */
export function useClassRecords(): ReadonlyMap<number, Standing | null> {
  const records = shallowReactive(new Map<number, Standing | null>())
  /** The state of each class's boards for which its record was loaded. */
  const loadedAt = new Map<number, string>()
  const load = useRetriedLoad(async (_, retryLater) => {
    for (const { classId } of service.classes) {
      const state = boardState(classId)
      if (state === undefined || loadedAt.get(classId) === state) continue
      try {
        const { standings } = await leaderboard(classId, { limit: 1 })
        applyNames(standings)
        records.set(classId, standings[0] ?? null)
        loadedAt.set(classId, state)
      } catch (error) {
        retryLater(error)
      }
    }
  })

  watch(() => service.classes.map(({ classId }) => boardState(classId)).join(), load, {
    immediate: true,
  })
  return records
}
