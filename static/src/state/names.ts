/** Racers' names, as far as they are known. Histories have ids only. */
import { shallowReactive, shallowRef } from 'vue'

import { leaderboard } from '../api/client'
import { ApiError } from '../api/request'
import { visibleName } from '../format'
import { visible } from '../visible'

/** Maximum number of racers of one request: the address stays below 4 kB. The service allows 1000. */
const REQUESTED_MAX = 200

/** Maximum number of racers that wait for a request. Later ones are requested when they are shown again. */
const WANTED_MAX = 2000

/** Delay after a failed request, in milliseconds. It doubles with every further failure. */
const RETRY_MIN_MS = 2_000
const RETRY_MAX_MS = 60_000

/** The names that are known. Null: the racer is known to have none. */
const names = shallowReactive(new Map<number, string | null>())
/** The guest of this device, whose name on the boards may be an earlier one; null if the rider is no guest. */
export const guest = shallowRef<{ racerId: number; name: string } | null>(null)
/** Racers of whom no name is known yet, each with a class in which it rides. */
const wanted = new Map<number, number>()
let fetching = false
let retryMs = RETRY_MIN_MS

export function nameOf(racerId: number): string {
  if (guest.value?.racerId === racerId) return guest.value.name
  return visibleName(names.get(racerId) ?? '') || `Racer ${racerId}`
}

export function applyNames(
  racers: Iterable<{ racerId: number; name?: string | null | undefined }>,
): void {
  for (const { racerId, name } of racers) if (name) names.set(racerId, name)
}

/** Applies names that the device has stored. The service’s response is newer. It may say that a racer has no name. */
export function applyStoredNames(racers: readonly { racerId: number; name: string }[]): void {
  applyNames(racers.filter(({ racerId }) => !names.has(racerId)))
}

/** Requests the names of racers of a class, where they are not known. */
export function requestNames(classId: number, racers: Iterable<number>): void {
  for (const racer of racers) {
    if (!names.has(racer) && wanted.size < WANTED_MAX) wanted.set(racer, classId)
  }
  if (!fetching && wanted.size > 0) void fetchNames()
}

/** Fetches names until none is wanted, one request at a time. Backs off while requests fail. A hidden page waits, too. */
async function fetchNames(): Promise<void> {
  fetching = true
  while (wanted.size > 0) {
    const [classId] = wanted.values()
    const racers = [...wanted].filter(([, of]) => of === classId).slice(0, REQUESTED_MAX)
    const ids = racers.map(([racerId]) => racerId)
    try {
      const { standings } = await leaderboard(classId ?? 1, { racers: ids, limit: REQUESTED_MAX })
      for (const racerId of ids) {
        names.set(racerId, names.get(racerId) ?? null)
        wanted.delete(racerId)
      }
      applyNames(standings)
      retryMs = RETRY_MIN_MS
    } catch (error) {
      // They are requested when they are shown again, and do not hold up the others.
      if (error instanceof ApiError && error.kind !== 'away') ids.forEach((id) => wanted.delete(id))
      await new Promise((resolve) => setTimeout(resolve, retryMs))
      retryMs = Math.min(retryMs * 2, RETRY_MAX_MS)
      await visible()
    }
  }
  fetching = false
}
