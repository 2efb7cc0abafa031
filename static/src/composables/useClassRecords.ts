/** The best of every class over the whole race. */
import { shallowReactive, watch } from 'vue'

import { leaderboard, type Standing } from '../api/client'
import { applyNames } from '../state/names'
import { service } from '../state/service'

/** Returns the class record by class. Null: nobody has ridden the class. */
export function useClassRecords(): ReadonlyMap<number, Standing | null> {
  const records = shallowReactive(new Map<number, Standing | null>())
  /** The state of each class for which its record was loaded. */
  const loadedAt = new Map<number, string>()

  async function load(classId: number, stateHash: string): Promise<void> {
    if (loadedAt.get(classId) === stateHash) return
    loadedAt.set(classId, stateHash)
    try {
      const { standings } = await leaderboard(classId, { limit: 1 })
      // A load for a later state may have begun, and may be over.
      if (loadedAt.get(classId) !== stateHash) return
      applyNames(standings)
      records.set(classId, standings[0] ?? null)
    } catch {
      // Loaded with the next poll of the service.
      if (loadedAt.get(classId) === stateHash) loadedAt.delete(classId)
    }
  }

  watch(
    () => service.classes,
    async (classes) => {
      for (const { classId, stateHash } of classes) await load(classId, stateHash)
    },
    { immediate: true },
  )
  return records
}
