/** Racers' names, as far as the page heard of them. The history has ids only. */
import { shallowReactive } from 'vue'

import { leaderboard } from '../api/client'

/** The service tells of that many racers at a time. */
const ASKED_MAX = 200

const names = shallowReactive(new Map<number, string | null>())
const wanted = new Set<number>()
let asking = false

export function nameOf(racerId: number): string {
  return names.get(racerId) ?? `Racer ${racerId}`
}

export function learn(
  racers: Iterable<{ racerId: number; name?: string | null | undefined }>,
): void {
  for (const { racerId, name } of racers) if (name) names.set(racerId, name)
}

/** Finds out the names of those who ride in that class, if they are not known. */
export function want(classId: number, racers: Iterable<number>): void {
  for (const racer of racers) if (!names.has(racer)) wanted.add(racer)
  if (!asking && wanted.size > 0) void find(classId)
}

async function find(classId: number): Promise<void> {
  asking = true
  const racers = [...wanted].slice(0, ASKED_MAX)
  for (const racer of racers) wanted.delete(racer)
  try {
    const { standings } = await leaderboard(classId, { racers, limit: ASKED_MAX })
    for (const racer of racers) names.set(racer, null)
    learn(standings)
  } catch {
    // They stay without a name until they are wanted again.
  } finally {
    asking = false
  }
  if (wanted.size > 0) void find(classId)
}
