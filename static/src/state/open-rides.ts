/**
 * Rides of this device that are under way, or not sent yet. The tab that rides a race sends it; another tab takes it over once
 * that tab is gone. A tab that is killed cannot end its ride, so the last record of each is kept, and the next tab ends it.
 * Otherwise its race would stay open.
 */
import type { RideRecord } from '../api/client'
import { storageOf } from '../storage'
import { uuid } from '../uuid'
import type { Outbox } from './outbox'

/** With the race's id: the key of the last record, and the name of the lock that the sending tab holds. */
const PREFIX = 'alleycat.ride.'

/** The keys of a race: its last record here, and its records in the outbox. */
const KEY = /^alleycat\.(?:ride|outbox)\.(\d+)$/

const storage = storageOf('localStorage')

/**
 * Undefined on an origin that is not secure. There a ride whose tab is killed stays open, and a new tab may send what another
 * one sends, too.
 */
const locks = navigator.locks as LockManager | undefined

/** Makes this tab the sender of a race, once no other tab is. The browser releases the lock when the tab is gone. */
function hold(raceId: number, onHeld: () => void = () => {}): void {
  void locks?.request(PREFIX + raceId, () => {
    onHeld()
    return new Promise<never>(() => {})
  })
}

/** Returns the record as the end of its ride. */
export function asFinal(record: RideRecord): RideRecord {
  return { ...record, uuid: uuid(), event: 'final' }
}

/** A ride of this tab. */
export class OpenRide {
  readonly #key: string

  constructor(raceId: number) {
    this.#key = PREFIX + raceId
    hold(raceId)
  }

  /** Keeps the last record. */
  keep(record: RideRecord): void {
    if (!locks) return
    try {
      storage?.setItem(this.#key, JSON.stringify(record))
    } catch {
      // Storage is full: an earlier record stays.
    }
  }

  close(): void {
    storage?.removeItem(this.#key)
  }
}

/** Returns the race whose ride has this key; 0 for another key. */
function raceOf(key: string | null): number {
  return Number(KEY.exec(key ?? '')?.[1] ?? 0)
}

/**
 * Takes over the rides of other tabs, each as soon as its tab is gone: sends what it left, and ends its ride by sending the
 * last record again, as the final one.
 */
export function takeLeftRides(outbox: Pick<Outbox, 'add' | 'take' | 'reportOnDevice'>): void {
  if (!storage) return
  const wanted = new Set<number>()
  const take = (key: string | null) => {
    const raceId = raceOf(key)
    if (!raceId) return
    if (locks) outbox.reportOnDevice(raceId)
    if (wanted.has(raceId)) return
    wanted.add(raceId)
    if (!locks) return outbox.take(raceId)
    hold(raceId, () => {
      outbox.take(raceId)
      // Read under the lock: another page may have ended the ride.
      const record = read(storage, PREFIX + raceId)
      if (record) outbox.add(asFinal(record))
      storage.removeItem(PREFIX + raceId)
    })
  }
  Object.keys(storage).forEach(take)
  // A race that another tab begins. Without locks nobody knows when that tab is gone.
  if (locks) addEventListener('storage', ({ key }) => take(key))
}

/** Reports what waits on the device, for a page that sends nothing. */
export function reportLeftRides(outbox: Pick<Outbox, 'reportOnDevice'>): void {
  const report = (key: string | null) => {
    const raceId = raceOf(key)
    if (raceId) outbox.reportOnDevice(raceId)
  }
  Object.keys(storage ?? {}).forEach(report)
  addEventListener('storage', ({ key }) => report(key))
}

function read(storage: Storage, key: string): RideRecord | null {
  try {
    return JSON.parse(storage.getItem(key) ?? 'null') as RideRecord | null
  } catch {
    return null
  }
}
