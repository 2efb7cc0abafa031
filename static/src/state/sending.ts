/** Sends a ride to the service, as it is ridden, where the operator lets the page. */
import { ref } from 'vue'

import { ApiError, sendRide, type RideRecord } from '../api/client'
import type { Sample } from '../race/ride'
import type { Identity } from './rider'
import { ridesOpen } from './service'

/** The least time from one request to the next, in milliseconds. */
const INTERVAL_MS = 1000

export type Sent = 'closed' | 'sending' | 'sent' | 'failed'

function uuid(): string {
  // crypto.randomUUID is there on secure origins only.
  const bytes = crypto.getRandomValues(new Uint8Array(16))
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x40
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')
  return [
    hex.slice(0, 8),
    hex.slice(8, 12),
    hex.slice(12, 16),
    hex.slice(16, 20),
    hex.slice(20),
  ].join('-')
}

export function useSending() {
  const state = ref<Sent>('closed')
  let waiting: RideRecord[] = []
  let raceId: number | null = null
  let lastMs = 0
  let sending = false

  /** Begins a ride. */
  function begin(): void {
    raceId = Date.now()
    waiting = []
    state.value = ridesOpen ? 'sending' : 'closed'
  }

  /** Takes a second of the ride; what is taken leaves soon, with `final` at once. */
  function add(classId: number, rider: Identity, sample: Sample, final: boolean): void {
    if (state.value === 'closed' || raceId === null) return
    waiting.push({
      uuid: uuid(),
      event: final ? 'final' : 'update',
      deviceTimestamp: Date.now(),
      second: sample.second,
      raceId,
      name: rider.name,
      racerId: rider.racerId,
      classId,
      cadence: sample.cadence,
      resistance: sample.resistance,
    })
    if (final || Date.now() - lastMs >= INTERVAL_MS) void flush()
  }

  /** Sends what waits. What fails waits on; sending it twice does no harm. */
  async function flush(): Promise<void> {
    if (sending || state.value === 'closed') return
    sending = true
    let failed = false
    while (waiting.length > 0 && !failed) {
      const batch = waiting
      const of = raceId
      waiting = []
      lastMs = Date.now()
      state.value = 'sending'
      try {
        await sendRide(batch)
      } catch (error) {
        failed = true
        const closed = error instanceof ApiError && error.kind === 'missing'
        if (of === raceId) {
          waiting = [...batch, ...waiting]
          state.value = closed ? 'closed' : 'failed'
        }
      }
    }
    sending = false
    if (!failed) state.value = 'sent'
  }

  /** The race that is or was sent last. */
  const own = () => raceId

  return { state, own, begin, add, flush }
}
