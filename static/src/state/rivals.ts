/** The rivals that were chosen on this device, in the order of choice. */
import { useStorage } from '@vueuse/core'
import { watch } from 'vue'

import { applyStoredNames } from './names'

interface Rival {
  racerId: number
  name: string
}

/** Maximum number of rivals: a board of more is not read at a glance. */
export const RIVALS_MAX = 20

function isRival(value: unknown): value is Rival {
  const { racerId, name } = (value ?? {}) as Partial<Rival>
  return Number.isSafeInteger(racerId) && typeof name === 'string'
}

/** Reads stored rivals. Invalid ones are left out. */
export function parseRivals(text: string): Rival[] {
  try {
    const stored: unknown = JSON.parse(text)
    return Array.isArray(stored) ? stored.filter(isRival).slice(0, RIVALS_MAX) : []
  } catch {
    return []
  }
}

export const rivals = useStorage<Rival[]>('alleycat.rivals', [], undefined, {
  serializer: { read: parseRivals, write: JSON.stringify },
  shallow: true,
})

/** Adds a rival as the last one, also one that is there. Beyond the maximum the first ones are removed. */
export function addRival({ racerId, name }: Rival): void {
  const others = rivals.value.filter((rival) => rival.racerId !== racerId)
  rivals.value = [...others, { racerId, name }].slice(-RIVALS_MAX)
}

export function removeRival(racerId: number): void {
  rivals.value = rivals.value.filter((rival) => rival.racerId !== racerId)
}

watch(rivals, applyStoredNames, { immediate: true })
