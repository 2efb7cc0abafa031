/** Turns the seconds of one ride into records, and hands them to the outbox. */
import type { RideRecord } from '../api/client'
import type { Sample } from '../race/ride'
import type { Outbox } from './outbox'
import type { Identity } from './rider'

/** `crypto.randomUUID` exists on secure origins only. */
function uuid(): string {
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

export class RideSender {
  /** The last record, until the ride has its final one. */
  #last: RideRecord | null = null
  #ended = false

  constructor(
    readonly raceId: number,
    readonly classId: number,
    readonly rider: Readonly<Identity>,
    readonly outbox: Pick<Outbox, 'add'>,
  ) {}

  /** Sends a second of the ride; the race's last one is final. */
  add(sample: Sample, isFinal: boolean): void {
    if (this.#ended) return
    this.#last = {
      uuid: uuid(),
      event: isFinal ? 'final' : 'update',
      deviceTimestamp: Date.now(),
      second: sample.second,
      raceId: this.raceId,
      // The service knows the names of all but guests.
      ...(this.rider.guest && this.rider.name ? { name: this.rider.name } : {}),
      racerId: this.rider.racerId,
      classId: this.classId,
      cadence: sample.cadence,
      resistance: sample.resistance,
    }
    this.#ended = isFinal
    this.outbox.add(this.#last)
  }

  /** Ends a ride before the race's last second: its latest second becomes final, so that the race does not stay open. */
  end(): void {
    if (this.#last && !this.#ended) this.outbox.add({ ...this.#last, uuid: uuid(), event: 'final' })
    this.#ended = true
  }
}
