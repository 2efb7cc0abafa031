/** Turns the seconds of one ride into records, and hands them to the outbox. */
import type { RideRecord } from '../api/client'
import type { Sample } from '../race/ride'
import { uuid } from '../uuid'
import { asFinal, OpenRide } from './open-rides'
import type { Outbox } from './outbox'
import { ownName, type Identity } from './rider'
import { serviceTime } from './service-time'

export class RideSender {
  /** The last record, until the ride has its final one. */
  #last: RideRecord | null = null
  #ended = false
  readonly #open: OpenRide

  constructor(
    readonly raceId: number,
    readonly classId: number,
    /** Returns the rider, whose name may change. */
    readonly rider: () => Readonly<Identity>,
    readonly outbox: Pick<Outbox, 'add'>,
  ) {
    this.#open = new OpenRide(raceId)
  }

  /** Sends a second of the ride; the race's last one is final. */
  add(sample: Sample, isFinal: boolean): void {
    if (this.#ended) return
    this.#last = {
      uuid: uuid(),
      event: isFinal ? 'final' : 'update',
      deviceTimestamp: serviceTime(),
      second: sample.second,
      raceId: this.raceId,
      ...this.#rider(),
      classId: this.classId,
      cadence: sample.cadence,
      resistance: sample.resistance,
    }
    this.outbox.add(this.#last)
    if (isFinal) this.#close()
    else this.#open.keep(this.#last)
  }

  /** Ends a ride before the race's last second: its latest second becomes final, so that the race does not stay open. */
  end(): void {
    if (this.#last && !this.#ended) this.outbox.add({ ...asFinal(this.#last), ...this.#rider() })
    this.#close()
  }

  /** Returns the rider as a record has it. The service knows the names of all but guests. */
  #rider(): Pick<RideRecord, 'racerId' | 'name'> {
    const rider = this.rider()
    return { racerId: rider.racerId, ...(rider.guest && { name: ownName(rider) }) }
  }

  #close(): void {
    this.#ended = true
    this.#open.close()
  }
}
