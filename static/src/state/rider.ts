/** The rider of this device. All tabs have the same one. */
import { useStorage } from '@vueuse/core'
import { computed, watch } from 'vue'

import { visibleName } from '../format'
import { applyNames, guest, nameOf } from './names'

export interface Identity {
  racerId: number
  /** A guest's own name; of any other racer the service's, or empty. */
  name: string
  /** Whether this is a new racer of this device, not one that the service knows. */
  guest: boolean
}

/** Guests' ids are drawn from this range: above the ids that operators assign by hand, and far below 2^53. */
const GUEST_MIN = 1_000_000_000_000
const GUEST_SPAN = 1_000_000_000_000

function guestId(): number {
  const [high = 0, low = 0] = crypto.getRandomValues(new Uint32Array(2))
  return GUEST_MIN + Math.floor(((high * 2 ** 20 + (low >>> 12)) / 2 ** 52) * GUEST_SPAN)
}

export function newGuest(): Identity {
  return { racerId: guestId(), name: 'Guest', guest: true }
}

/** Reads a stored identity; an invalid one becomes a new guest. */
export function parseIdentity(text: string): Identity {
  try {
    const { racerId, name, guest } = JSON.parse(text) as Partial<Identity>
    if (racerId !== undefined && Number.isSafeInteger(racerId) && typeof name === 'string') {
      return { racerId, name, guest: guest === true }
    }
  } catch {
    // Not JSON: drawn anew.
  }
  return newGuest()
}

export const rider = useStorage<Identity>('alleycat.rider', newGuest, undefined, {
  serializer: { read: parseIdentity, write: JSON.stringify },
})

/** Returns the name that an identity itself has. A guest that entered none has one, too. */
export function ownName({ name, guest }: Identity): string {
  return guest ? visibleName(name) || 'Guest' : name
}

/** Returns the name under which an identity is shown. */
export function displayName(identity: Identity): string {
  return identity.guest ? ownName(identity) : nameOf(identity.racerId)
}

export const riderName = computed(() => displayName(rider.value))

watch(
  rider,
  (identity) => {
    const own = { racerId: identity.racerId, name: ownName(identity) }
    guest.value = identity.guest ? own : null
    applyNames([own])
  },
  { immediate: true, deep: true },
)
