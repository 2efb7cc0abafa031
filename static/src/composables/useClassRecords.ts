/** The best of every class over the whole race. */
import { shallowReactive, watch } from 'vue'

import { leaderboard, type Standing } from '../api/client'
import { applyNames } from '../state/names'
import { boardState, service } from '../state/service'

/** Returns the class record by class. Null: nobody has ridden the class. */
export function useClassRecords(): ReadonlyMap<number, Standing | null> {
  const records = shallowReactive(new Map<number, Standing | null>())
  /** The state of each class's boards for which its record was loaded. */
  const loadedAt = new Map<number, string>()

  async function load(classId: number): Promise<void> {
    const state = boardState(classId)
    if (state === undefined || loadedAt.get(classId) === state) return
    loadedAt.set(classId, state)
    try {
      const { standings } = await leaderboard(classId, { limit: 1 })
      // A load for a later state may have begun, and may be over.
      if (loadedAt.get(classId) !== state) return
      applyNames(standings)
      records.set(classId, standings[0] ?? null)
    } catch {
      // Loaded with the next poll of the service.
      if (loadedAt.get(classId) === state) loadedAt.delete(classId)
    }
  }

  watch(
    () => service.classes,
    async (classes) => {
      for (const { classId } of classes) await load(classId)
    },
    { immediate: true },
  )
  return records
}
