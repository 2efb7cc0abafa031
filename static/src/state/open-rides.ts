/**
 * Rides under way on this device. A tab that is killed cannot end its ride, so the last record of each is kept, and a later
 * page ends the ride. Otherwise its race would stay open.
 */
import type { RideRecord } from '../api/client'
import { storageOf } from '../storage'
import { uuid } from '../uuid'
import type { Outbox } from './outbox'

/** With the race's id: the key of the last record, and the name of the lock that the riding tab holds. */
const PREFIX = 'alleycat.ride.'

const storage = storageOf('localStorage')

/** Undefined on an origin that is not secure. There a ride whose tab is killed stays open. */
const locks = navigator.locks as LockManager | undefined

/** Returns the record as the end of its ride. */
export function asFinal(record: RideRecord): RideRecord {
  return { ...record, uuid: uuid(), event: 'final' }
}

/** A ride of this tab. */
export class OpenRide {
  readonly #key: string
  #release: (() => void) | null = null

  constructor(raceId: number) {
    this.#key = PREFIX + raceId
  }

  /** Keeps the last record. The first one takes the lock, which the browser releases when the tab is gone. */
  keep(record: RideRecord): void {
    if (!locks) return
    if (!this.#release) {
      const released = new Promise<void>((resolve) => (this.#release = resolve))
      void locks.request(this.#key, () => released)
    }
    try {
      storage?.setItem(this.#key, JSON.stringify(record))
    } catch {
      // Storage is full: an earlier record stays.
    }
  }

  close(): void {
    storage?.removeItem(this.#key)
    this.#release?.()
  }
}

/** Ends the rides that killed tabs left: the last record of each is sent again, as the final one. */
export async function endLeftRides(outbox: Pick<Outbox, 'add'>): Promise<void> {
  if (!locks || !storage) return
  for (const key of Object.keys(storage).filter((key) => key.startsWith(PREFIX))) {
    await locks.request(key, { ifAvailable: true }, (lock) => {
      // Read under the lock: another page may have ended the ride.
      const record = lock && read(storage, key)
      if (record) outbox.add(asFinal(record))
      if (lock) storage.removeItem(key)
    })
  }
}

function read(storage: Storage, key: string): RideRecord | null {
  try {
    return JSON.parse(storage.getItem(key) ?? 'null') as RideRecord | null
  } catch {
    return null
  }
}
