/** Who rides on this device. */
import { reactive, watch } from 'vue'

import { learn } from './names'

export interface Identity {
  racerId: number
  name: string
  /** A new racer of this device, rather than one that the service knows. */
  guest: boolean
}

const KEY = 'alleycat.rider'

/** Guests' ids are drawn from here on: beyond what an operator numbers by hand, and far below 2^53. */
const GUEST_MIN = 1_000_000_000_000
const GUEST_SPAN = 1_000_000_000_000

function guestId(): number {
  const [high = 0, low = 0] = crypto.getRandomValues(new Uint32Array(2))
  return GUEST_MIN + Math.floor(((high * 2 ** 20 + (low >>> 12)) / 2 ** 52) * GUEST_SPAN)
}

export function newGuest(name: string): Identity {
  return { racerId: guestId(), name, guest: true }
}

function stored(): Identity {
  try {
    const identity = JSON.parse(localStorage.getItem(KEY) ?? 'null') as Identity | null
    if (identity && Number.isSafeInteger(identity.racerId) && typeof identity.name === 'string')
      return identity
  } catch {
    // What cannot be read is drawn anew.
  }
  return newGuest('Guest')
}

export const rider = reactive(stored())

export function rideAs(identity: Identity): void {
  Object.assign(rider, identity)
}

watch(
  rider,
  () => {
    learn([rider])
    try {
      localStorage.setItem(KEY, JSON.stringify(rider))
    } catch {
      // Without storage the rider lasts as long as the page.
    }
  },
  { immediate: true },
)
