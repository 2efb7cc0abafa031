/**
 * Rides on their way to the service. Records are kept on the device until the service has stored them, so that neither a
 * lost connection nor a reload loses a second. Sending a record twice does no harm.
 */
import { shallowReactive, shallowRef, watch } from 'vue'

import { sendRide, type RideRecord, type RideResponse } from '../api/client'
import { ApiError, messageOf } from '../api/request'
import { storageOf } from '../storage'
import { reportLeftRides, takeLeftRides } from './open-rides'
import { reachable, ridesOpen } from './service'

/** Records of a ride are stored under this prefix and the ride's id, so that tabs do not overwrite each other's. */
const KEY_PREFIX = 'alleycat.outbox.'

/** Least time between requests, in milliseconds: one request a second and rider is a small load for the service. */
const INTERVAL_MS = 1000

/** Delay after a failed request, in milliseconds. It doubles with every further failure. */
const RETRY_MIN_MS = 1000
const RETRY_MAX_MS = 60_000

/** Maximum number of records of a request. The service takes 1000, and 256 KiB. */
const BATCH_MAX = 300

/** Maximum number of rides that wait. Beyond it the oldest are given up: a device stores 5 MB. */
const RIDES_MAX = 20

export interface Delivery {
  /**
   * `sending`: records wait or are on their way; `retrying`: a request failed and is repeated; `onDevice`: records wait on the
   * device, and this page does not send them; `sent`: all are stored; `refused`: the service did not take those that waited. A
   * `reason` says why a request failed.
   */
  state: 'sending' | 'retrying' | 'onDevice' | 'sent' | 'refused'
  /** Number of seconds that wait to be sent. The end of a ride that was given up repeats a second. */
  waiting: number
  /** Number of records that the service rejected. */
  rejected: number
  /** Whether the service has taken any of it from this page. */
  anyTaken: boolean
  reason: string | null
  /** Whether the records that wait are on the device, so that a later page can send them. */
  isStored: boolean
}

/** The delivery of a ride of which nothing has been sent. */
export const NEW_DELIVERY: Delivery = {
  state: 'sending',
  waiting: 0,
  rejected: 0,
  anyTaken: false,
  reason: null,
  isStored: true,
}

type Send = (records: readonly RideRecord[]) => Promise<RideResponse>

export class Outbox {
  /** By race. */
  readonly deliveries = shallowReactive(new Map<number, Delivery>())
  /** Whether the service took no rides at the last request: it was restarted since it served this page. */
  readonly isClosed = shallowRef(false)
  readonly #queues = new Map<number, RideRecord[]>()
  #sending = false
  /** The records of the current request. */
  #inFlight: readonly RideRecord[] = []
  #sentAtMs = -Infinity
  #timer: ReturnType<typeof setTimeout> | undefined
  /** Rides whose request failed. They wait for the next try, and do not hold up the others. */
  readonly #failed = new Set<number>()
  #retryMs = RETRY_MIN_MS
  #retryTimer: ReturnType<typeof setTimeout> | undefined

  /** Without a `storage` the queues last as long as the page. */
  constructor(
    readonly storage: Storage | null,
    readonly send: Send,
  ) {}

  /** Takes over a ride that another page left on the device, and sends it. */
  take(raceId: number): void {
    const key = KEY_PREFIX + raceId
    if ((this.storage?.getItem(key) ?? null) === null) return
    this.#queues.set(raceId, this.#read(key))
    this.#report(raceId, { state: 'sending' })
    const oldest = [...this.#queues.keys()].sort((a, b) => a - b).slice(0, -RIDES_MAX)
    for (const raceId of oldest) {
      this.#remove(raceId, this.#queues.get(raceId) ?? [])
      this.deliveries.delete(raceId)
    }
    this.retryNow()
  }

  /** Reports what the device has of a ride that this page does not send. */
  reportOnDevice(raceId: number): void {
    if (this.#queues.has(raceId)) return
    const waiting = secondsOf(this.#read(KEY_PREFIX + raceId))
    if (waiting > 0) this.deliveries.set(raceId, { ...NEW_DELIVERY, state: 'onDevice', waiting })
    else if (this.deliveries.get(raceId)?.state === 'onDevice') this.deliveries.delete(raceId)
  }

  /** Whether records wait that would be lost with the page. */
  get wouldLose(): boolean {
    return [...this.deliveries.values()].some(({ waiting, isStored }) => waiting > 0 && !isStored)
  }

  /** Queues a record. It is sent within a second; a final one at once. */
  add(record: RideRecord): void {
    const { raceId } = record
    const before = this.deliveries.get(raceId)?.state
    if (before === 'refused') return
    const isStored = this.#append(record)
    this.#report(raceId, { state: before === 'retrying' ? 'retrying' : 'sending', isStored })
    const wait = record.event === 'final' ? 0 : this.#sentAtMs + INTERVAL_MS - performance.now()
    if (this.#sending) return
    if (this.#timer === undefined || record.event === 'final') this.#schedule(wait)
  }

  /** Sends at once, without waiting for the end of a delay. */
  retryNow(): void {
    this.#retryMs = RETRY_MIN_MS
    this.#retry()
  }

  #retry(): void {
    clearTimeout(this.#retryTimer)
    this.#retryTimer = undefined
    this.#failed.clear()
    if (!this.#sending && this.#queues.size > 0) this.#schedule(0)
  }

  /**
   * Sends the newest ride's last records that are in no request yet, without waiting for the current one: the page is being
   * closed.
   */
  flushNow(): void {
    const raceId = Math.max(...this.#queues.keys())
    const waiting = this.#queues.get(raceId)?.filter((record) => !this.#inFlight.includes(record))
    if (waiting?.length) void this.#sendBatch(raceId, waiting.slice(-BATCH_MAX))
  }

  /** Without a delay the request begins at once: on a page that is being closed, no timer fires. */
  #schedule(delayMs: number): void {
    clearTimeout(this.#timer)
    if (delayMs > 0) this.#timer = setTimeout(() => void this.#flush(), delayMs)
    else void this.#flush()
  }

  async #flush(): Promise<void> {
    this.#timer = undefined
    this.#sending = true
    for (;;) {
      const waiting = [...this.#queues.keys()].filter((raceId) => !this.#failed.has(raceId))
      if (waiting.length === 0) break
      // The newest ride is the one that is being ridden.
      const raceId = Math.max(...waiting)
      this.#inFlight = this.#queues.get(raceId)?.slice(0, BATCH_MAX) ?? []
      const result = await this.#sendBatch(raceId, this.#inFlight)
      // Without a response, the others would fail, too.
      const failed = result === 'away' ? waiting : result === 'failed' ? [raceId] : []
      for (const raceId of failed) this.#failed.add(raceId)
    }
    this.#inFlight = []
    this.#sending = false
    if (this.#failed.size === 0) this.#retryMs = RETRY_MIN_MS
    else if (this.#retryTimer === undefined) {
      this.#retryTimer = setTimeout(() => this.#retry(), this.#retryMs)
      this.#retryMs = Math.min(this.#retryMs * 2, RETRY_MAX_MS)
    }
  }

  /** Sends records of a ride. Returns whether the request is to be repeated, and whether others would fail, too. */
  async #sendBatch(
    raceId: number,
    batch: readonly RideRecord[],
  ): Promise<'done' | 'failed' | 'away'> {
    this.#sentAtMs = performance.now()
    try {
      const rejected = batch.length > 0 ? (await this.send(batch)).rejected : 0
      this.isClosed.value = false
      this.#remove(raceId, batch)
      const before = this.deliveries.get(raceId)
      this.#report(raceId, {
        state: this.#queues.has(raceId) ? 'sending' : 'sent',
        rejected: (before?.rejected ?? 0) + rejected,
        anyTaken: before?.anyTaken === true || rejected < batch.length,
        reason: null,
      })
      return 'done'
    } catch (error) {
      const kind = error instanceof ApiError ? error.kind : 'away'
      if (kind === 'missing') this.isClosed.value = true
      const reason = messageOf(error, 'The ride could not be sent.')
      if (kind === 'refused') {
        this.#remove(raceId, this.#queues.get(raceId) ?? [])
        this.#report(raceId, { state: 'refused', reason })
        return 'done'
      }
      this.#report(raceId, { state: 'retrying', reason })
      return kind === 'away' ? 'away' : 'failed'
    }
  }

  /** Appends a record to the queue of its ride, also on the device. Returns whether the device keeps the queue. */
  #append(record: RideRecord): boolean {
    const key = KEY_PREFIX + record.raceId
    const queue = [...(this.#queues.get(record.raceId) ?? []), record]
    this.#queues.set(record.raceId, queue)
    // Another tab may have sent and removed a part meanwhile. Sending it twice does no harm.
    const own = new Set(queue.map(({ uuid }) => uuid))
    return this.#write(key, [...this.#read(key).filter(({ uuid }) => !own.has(uuid)), ...queue])
  }

  /** Removes these records of a ride, also on the device. Those that another tab has added since stay there. */
  #remove(raceId: number, records: readonly RideRecord[]): void {
    const key = KEY_PREFIX + raceId
    const removed = new Set(records.map(({ uuid }) => uuid))
    const without = (queue: RideRecord[]) => queue.filter(({ uuid }) => !removed.has(uuid))
    const rest = without(this.#queues.get(raceId) ?? [])
    if (rest.length > 0) this.#queues.set(raceId, rest)
    else this.#queues.delete(raceId)
    this.#write(key, without(this.#read(key)))
  }

  /** Returns false where storage is denied or full: the queue lasts as long as the page. */
  #write(key: string, records: readonly RideRecord[]): boolean {
    try {
      if (records.length > 0) this.storage?.setItem(key, JSON.stringify(records))
      else this.storage?.removeItem(key)
      return this.storage !== null
    } catch {
      return false
    }
  }

  #read(key: string): RideRecord[] {
    try {
      const records = JSON.parse(this.storage?.getItem(key) ?? '[]') as RideRecord[]
      return Array.isArray(records) ? records : []
    } catch {
      return []
    }
  }

  #report(raceId: number, change: Partial<Delivery>): void {
    const waiting = secondsOf(this.#queues.get(raceId) ?? [])
    this.deliveries.set(raceId, {
      ...(this.deliveries.get(raceId) ?? NEW_DELIVERY),
      ...change,
      waiting,
    })
  }
}

function secondsOf(records: readonly RideRecord[]): number {
  return new Set(records.map(({ second }) => second)).size
}

/** The outbox of this page. */
export const outbox = new Outbox(storageOf('localStorage'), sendRide)

/** Starts to send what other pages left. If the service takes no rides from the page, only says what waits. */
export function startOutbox(): void {
  if (!ridesOpen) return reportLeftRides(outbox)
  takeLeftRides(outbox)
  addEventListener('online', () => outbox.retryNow())
  watch(reachable, (isReachable) => isReachable && outbox.retryNow())
  addEventListener('beforeunload', (event) => {
    if (outbox.wouldLose) event.preventDefault()
  })
}
