// @vitest-environment happy-dom
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { watch } from 'vue'

import { sendRide, type RideRecord } from '../api/client'
import { ApiError } from '../api/request'
import { Outbox, outbox as outboxOfPage, startOutbox } from './outbox'
import { reachable } from './service.fake'

vi.mock('../api/client', () => ({ sendRide: vi.fn() }))
vi.mock('./service', () => import('./service.fake'))

const RACE = 1619185620265

function record(second: number, raceId = RACE): RideRecord {
  const event = 'update'
  const uuid = `${raceId} ${second}`
  const ride = { raceId, racerId: 1, classId: 1, cadence: 80, resistance: 78 }
  return { uuid, event, deviceTimestamp: 0, second, ...ride }
}

/** A service that keeps what it is sent, and fails as long as `failure` is set. */
function service() {
  const requests: number[][] = []
  const state = { failure: null as Error | null, rejected: 0 }
  const send = async (records: readonly RideRecord[]) => {
    requests.push(records.map(({ second }) => second))
    if (state.failure) throw state.failure
    return { records: records.length, improvements: 0, rejected: state.rejected }
  }
  return { requests, state, send }
}

/** An outbox of the device, and the service to which it sends. */
function open() {
  const to = service()
  return { ...to, outbox: new Outbox(localStorage, to.send) }
}

beforeEach(() => {
  vi.useFakeTimers({ now: RACE })
  localStorage.clear()
})
afterEach(() => {
  vi.useRealTimers()
})

describe('the outbox', () => {
  it('sends what was added within a second, in one request', async () => {
    const { requests, outbox } = open()
    outbox.add(record(1))
    await vi.advanceTimersByTimeAsync(1)
    outbox.add(record(2))
    outbox.add(record(3))
    expect(outbox.deliveries.get(RACE)).toMatchObject({ state: 'sending', waiting: 2 })
    await vi.advanceTimersByTimeAsync(1000)
    expect(requests).toEqual([[1], [2, 3]])
    expect(outbox.deliveries.get(RACE)).toMatchObject({ state: 'sent', waiting: 0 })
    expect(localStorage.length).toBe(0)
  })

  it('is sending until the last of several requests has succeeded', async () => {
    const { state, outbox } = open()
    state.failure = new ApiError('away', 'The service does not respond.')
    for (let second = 1; second <= 300; second++) outbox.add(record(second))
    outbox.add({ ...record(300), uuid: 'end', event: 'final' })
    await vi.advanceTimersByTimeAsync(0)
    const states: unknown[] = []
    watch(outbox.deliveries, (deliveries) => states.push(deliveries.get(RACE)?.state), {
      flush: 'sync',
    })
    state.failure = null
    outbox.retryNow()
    await vi.advanceTimersByTimeAsync(0)
    expect(states).toEqual(['sending', 'sent'])
  })

  it('is closed from a response that there is no such path until a ride is taken', async () => {
    const { state, outbox } = open()
    state.failure = new ApiError('away', 'The service does not respond.')
    outbox.add(record(1))
    await vi.advanceTimersByTimeAsync(0)
    expect(outbox.isClosed.value).toBe(false)
    state.failure = new ApiError('missing', 'no such path')
    await vi.advanceTimersByTimeAsync(1000)
    expect(outbox.isClosed.value).toBe(true)
    state.failure = new ApiError('away', 'The service does not respond.')
    await vi.advanceTimersByTimeAsync(2000)
    expect(outbox.isClosed.value).toBe(true)
    state.failure = null
    await vi.advanceTimersByTimeAsync(4000)
    expect(outbox.isClosed.value).toBe(false)
  })

  it('sends a final record at once', async () => {
    const { requests, outbox } = open()
    outbox.add(record(1))
    await vi.advanceTimersByTimeAsync(1)
    outbox.add(record(2))
    outbox.add({ ...record(3), event: 'final' })
    await vi.advanceTimersByTimeAsync(0)
    expect(requests).toEqual([[1], [2, 3]])
  })

  it('repeats what may succeed later, less and less often, with all that came meanwhile', async () => {
    const { requests, state, outbox } = open()
    state.failure = new ApiError('away', 'The service does not respond.')
    for (let second = 1; second <= 120; second++) {
      outbox.add(record(second))
      await vi.advanceTimersByTimeAsync(1000)
    }
    // After 0, 1, 3, 7, 15, 31, 63 and 123 s.
    expect(requests).toHaveLength(7)
    expect(outbox.deliveries.get(RACE)).toMatchObject({ state: 'retrying', waiting: 120 })
    state.failure = null
    outbox.retryNow()
    await vi.advanceTimersByTimeAsync(0)
    expect(requests.at(-1)).toHaveLength(120)
    expect(outbox.deliveries.get(RACE)).toMatchObject({ state: 'sent', waiting: 0 })
  })

  it('counts the seconds that wait: the end of a ride repeats one', () => {
    const { state, outbox } = open()
    state.failure = new ApiError('away', 'The service does not respond.')
    outbox.add(record(1))
    outbox.add(record(2))
    outbox.add({ ...record(2), uuid: 'the end', event: 'final' })
    expect(outbox.deliveries.get(RACE)?.waiting).toBe(2)
  })

  it('sends at most 300 records in a request', async () => {
    const { requests, state, outbox } = open()
    state.failure = new ApiError('away', 'The service does not respond.')
    for (let second = 1; second <= 301; second++) outbox.add(record(second))
    await vi.advanceTimersByTimeAsync(0)
    requests.length = 0
    // The end of the ride is worth most.
    outbox.flushNow()
    expect(requests.map((seconds) => [seconds[0], seconds.length])).toEqual([[2, 300]])
    requests.length = 0
    state.failure = null
    outbox.retryNow()
    await vi.advanceTimersByTimeAsync(0)
    expect(requests.map(({ length }) => length)).toEqual([300, 1])
  })

  it('begins with short delays again after a try that the rider asked for', async () => {
    const { requests, state, outbox } = open()
    state.failure = new ApiError('away', 'The service does not respond.')
    outbox.add(record(1))
    await vi.advanceTimersByTimeAsync(20_000)
    outbox.retryNow()
    requests.length = 0
    await vi.advanceTimersByTimeAsync(4000)
    // After 1 and 3 s.
    expect(requests).toHaveLength(2)
  })

  it('begins with short delays again after a success', async () => {
    const { requests, state, outbox } = open()
    state.failure = new ApiError('away', 'The service does not respond.')
    outbox.add(record(1))
    await vi.advanceTimersByTimeAsync(20_000)
    state.failure = null
    await vi.advanceTimersByTimeAsync(20_000)
    state.failure = new ApiError('away', 'The service does not respond.')
    requests.length = 0
    outbox.add(record(2))
    await vi.advanceTimersByTimeAsync(4000)
    // After 0, 1 and 3 s.
    expect(requests).toHaveLength(3)
  })

  it('does not repeat what is refused, and says why', async () => {
    const { requests, state, outbox } = open()
    state.failure = new ApiError('refused', 'classId must be at most 6')
    for (let second = 1; second <= 10; second++) {
      outbox.add(record(second))
      await vi.advanceTimersByTimeAsync(1000)
    }
    expect(requests).toEqual([[1]])
    const refused = { state: 'refused', waiting: 0, reason: 'classId must be at most 6' }
    expect(outbox.deliveries.get(RACE)).toMatchObject({ ...refused, anyTaken: false })
    expect(localStorage.length).toBe(0)
  })

  it('knows of a refused ride that a part was taken before', async () => {
    const { state, outbox } = open()
    outbox.add(record(1))
    await vi.advanceTimersByTimeAsync(1000)
    expect(outbox.deliveries.get(RACE)).toMatchObject({ state: 'sent', anyTaken: true })
    state.failure = new ApiError('refused', 'no')
    outbox.add(record(2))
    await vi.advanceTimersByTimeAsync(1000)
    expect(outbox.deliveries.get(RACE)).toMatchObject({ state: 'refused', anyTaken: true })
  })

  it('gives up also what was added during the request that is refused', async () => {
    const { requests, state, send } = service()
    state.failure = new ApiError('refused', 'no')
    const outbox = new Outbox(localStorage, (records) => {
      if (requests.length === 0) outbox.add(record(2))
      return send(records)
    })
    outbox.add(record(1))
    await vi.advanceTimersByTimeAsync(1000)
    expect(requests).toEqual([[1]])
    expect(outbox.deliveries.get(RACE)).toMatchObject({ state: 'refused', waiting: 0 })
    expect(localStorage.length).toBe(0)
  })

  it('begins a request before a page that is closed is gone', () => {
    const { requests, outbox } = open()
    outbox.add({ ...record(1), event: 'final' })
    expect(requests).toEqual([[1]])
  })

  it('sends the end of a ride beside a request that is under way', async () => {
    const { requests, send } = service()
    const outbox = new Outbox(localStorage, async (records) => {
      const response = send(records)
      await new Promise((resolve) => setTimeout(resolve, 5000))
      return response
    })
    outbox.add(record(1))
    outbox.add({ ...record(2), event: 'final' })
    outbox.flushNow()
    expect(requests).toEqual([[1], [2]])
    await vi.advanceTimersByTimeAsync(5000)
    expect(outbox.deliveries.get(RACE)).toMatchObject({ state: 'sent', waiting: 0 })
    expect(localStorage.length).toBe(0)
  })

  it('sends once more what failed when the page is closed before the next try', async () => {
    const { requests, state, outbox } = open()
    state.failure = new ApiError('away', 'The service does not respond.')
    outbox.add(record(1))
    await vi.advanceTimersByTimeAsync(1)
    outbox.flushNow()
    expect(requests).toEqual([[1], [1]])
  })

  it('sends the end of the newest ride when the page is closed, and nothing where nothing waits', async () => {
    const { requests, state, outbox } = open()
    outbox.flushNow()
    expect(requests).toEqual([])
    state.failure = new ApiError('unready', 'starting')
    outbox.add(record(300))
    outbox.add(record(5, RACE + 1))
    await vi.advanceTimersByTimeAsync(1)
    requests.length = 0
    outbox.flushNow()
    expect(requests).toEqual([[5]])
  })

  it('tries the other rides also after one that fails, where the service responds', async () => {
    const { requests, send } = service()
    const failing = new Set([RACE, RACE + 1])
    const outbox = new Outbox(localStorage, (records) =>
      failing.has(records[0]?.raceId ?? 0)
        ? Promise.reject(new ApiError('unready', 'no memory'))
        : send(records),
    )
    outbox.add(record(300))
    outbox.add(record(5, RACE + 1))
    await vi.advanceTimersByTimeAsync(1)
    failing.delete(RACE)
    await vi.advanceTimersByTimeAsync(1000)
    expect(requests).toEqual([[300]])
  })

  it('waits no longer when the clock of the device is set back', async () => {
    const { requests, outbox } = open()
    outbox.add(record(1))
    await vi.advanceTimersByTimeAsync(1)
    vi.setSystemTime(RACE - 3_600_000)
    outbox.add(record(2))
    await vi.advanceTimersByTimeAsync(1000)
    expect(requests).toEqual([[1], [2]])
  })

  it.each(['away', 'unready', 'locked', 'missing'] as const)(
    'keeps a ride that is %s, whatever its age, and sends it when it can be',
    async (kind) => {
      const { requests, state, outbox } = open()
      state.failure = new ApiError(kind, 'no')
      vi.setSystemTime(RACE + 8 * 24 * 3_600_000)
      outbox.add(record(1))
      await vi.advanceTimersByTimeAsync(120_000)
      const reason = 'no'
      expect(outbox.deliveries.get(RACE)).toMatchObject({ state: 'retrying', waiting: 1, reason })
      state.failure = null
      await vi.advanceTimersByTimeAsync(60_000)
      expect(requests.at(-1)).toEqual([1])
      expect(outbox.deliveries.get(RACE)?.state).toBe('sent')
    },
  )

  it.each(['unready', 'locked', 'missing'] as const)(
    'sends the others while a ride is %s',
    async (kind) => {
      const { requests, send } = service()
      const outbox = new Outbox(localStorage, (records) =>
        records[0]?.raceId === RACE ? Promise.reject(new ApiError(kind, 'no')) : send(records),
      )
      outbox.add(record(1))
      outbox.add(record(5, RACE - 1))
      await vi.advanceTimersByTimeAsync(1000)
      expect(requests).toEqual([[5]])
    },
  )

  it('counts rejected records', async () => {
    const { state, outbox } = open()
    state.rejected = 1
    outbox.add(record(1))
    await vi.advanceTimersByTimeAsync(1)
    expect(outbox.deliveries.get(RACE)).toMatchObject({
      state: 'sent',
      rejected: 1,
      anyTaken: false,
    })
    outbox.add(record(2))
    await vi.advanceTimersByTimeAsync(1000)
    expect(outbox.deliveries.get(RACE)).toMatchObject({ state: 'sent', rejected: 2 })
  })

  it('keeps what waits on the device, and a later page sends it', async () => {
    const away = service()
    away.state.failure = new ApiError('unready', 'starting')
    const before = new Outbox(localStorage, away.send)
    before.add(record(1))
    before.add(record(2))
    await vi.advanceTimersByTimeAsync(1)
    const { requests, send } = service()
    const after = new Outbox(localStorage, send)
    after.take(RACE)
    expect(after.deliveries.get(RACE)?.waiting).toBe(2)
    await vi.advanceTimersByTimeAsync(1)
    expect(requests).toEqual([[1, 2]])
    expect(localStorage.length).toBe(0)
  })

  it('says what waits in another tab, until that is sent or this tab takes it over', async () => {
    const riding = open()
    riding.state.failure = new ApiError('away', 'The service does not respond.')
    riding.outbox.add(record(1))
    riding.outbox.add(record(2))
    const watching = open()
    watching.outbox.reportOnDevice(RACE)
    expect(watching.outbox.deliveries.get(RACE)).toMatchObject({ state: 'onDevice', waiting: 2 })
    riding.outbox.reportOnDevice(RACE)
    expect(riding.outbox.deliveries.get(RACE)?.state).toBe('sending')
    const stored = localStorage.getItem(`alleycat.outbox.${RACE}`)!
    localStorage.clear()
    watching.outbox.reportOnDevice(RACE)
    expect(watching.outbox.deliveries.has(RACE)).toBe(false)
    localStorage.setItem(`alleycat.outbox.${RACE}`, stored)
    watching.outbox.reportOnDevice(RACE)
    watching.outbox.take(RACE)
    expect(watching.outbox.deliveries.get(RACE)).toMatchObject({ state: 'sending', waiting: 2 })
    await vi.advanceTimersByTimeAsync(0)
    watching.outbox.reportOnDevice(RACE)
    expect(watching.outbox.deliveries.get(RACE)?.state).toBe('sent')
  })

  it.each([
    ['sent', null],
    ['refused', new ApiError('refused', 'no')],
  ])('leaves on the device what another tab added while it was %s here', async (_, failure) => {
    const away = service()
    away.state.failure = new ApiError('away', 'The service does not respond.')
    const riding = new Outbox(localStorage, away.send)
    riding.add(record(1))
    const { state, send } = service()
    state.failure = failure
    const other = new Outbox(localStorage, async (records) => {
      riding.add(record(2))
      return send(records)
    })
    other.take(RACE)
    await vi.advanceTimersByTimeAsync(1)
    const later = service()
    new Outbox(localStorage, later.send).take(RACE)
    await vi.advanceTimersByTimeAsync(1)
    expect(later.requests).toEqual([[2]])
    expect(localStorage.length).toBe(0)
  })

  it('keeps on the device what another tab has added, when it adds more', async () => {
    const away = new ApiError('away', 'The service does not respond.')
    const [riding, other] = [0, 1].map(() => {
      const { state, outbox } = open()
      state.failure = away
      return outbox
    })
    riding?.add(record(1))
    other?.take(RACE)
    riding?.add(record(2))
    other?.add(record(3))
    const later = service()
    new Outbox(localStorage, later.send).take(RACE)
    await vi.advanceTimersByTimeAsync(1)
    expect(later.requests.flat().sort()).toEqual([1, 2, 3])
  })

  it('does not lose a ride when the next one begins', async () => {
    const { requests, state, outbox } = open()
    state.failure = new ApiError('away', 'The service does not respond.')
    outbox.add(record(300))
    await vi.advanceTimersByTimeAsync(1)
    outbox.add(record(1, RACE + 1))
    state.failure = null
    await vi.advanceTimersByTimeAsync(1000)
    expect(requests).toEqual([[300], [1], [300]])
  })

  it('tries one ride only while the service is away: for the others it is away, too', async () => {
    const { requests, state, outbox } = open()
    state.failure = new ApiError('away', 'The service does not respond.')
    outbox.add(record(300))
    outbox.add(record(1, RACE + 1))
    await vi.advanceTimersByTimeAsync(0)
    requests.length = 0
    await vi.advanceTimersByTimeAsync(1000)
    expect(requests).toEqual([[1]])
  })

  it('repeats a ride that fails less and less often, while a newer one is sent every second', async () => {
    const { requests, send } = service()
    let tries = 0
    const outbox = new Outbox(localStorage, (records) => {
      if (records[0]?.raceId !== RACE) return send(records)
      tries += 1
      return Promise.reject(new ApiError('unready', 'no memory'))
    })
    outbox.add(record(300))
    for (let second = 1; second <= 100; second++) {
      await vi.advanceTimersByTimeAsync(1000)
      outbox.add(record(second, RACE + 1))
    }
    // After 0, 1, 3, 7, 15, 31 and 63 s.
    expect(tries).toBe(7)
    expect(requests.length).toBeGreaterThan(90)
  })

  it.each(['first', 'last'])('keeps a limited number of rides, with the oldest %s', (place) => {
    for (let ride = 1; ride <= 30; ride++) {
      localStorage.setItem(`alleycat.outbox.${ride}`, JSON.stringify([record(1, ride)]))
    }
    const outbox = new Outbox(localStorage, service().send)
    for (let ride = 1; ride <= 30; ride++) outbox.take(place === 'first' ? ride : 31 - ride)
    const kept = [...outbox.deliveries.keys()].sort((a, b) => a - b)
    expect(kept).toEqual(Array.from({ length: 20 }, (_, i) => i + 11))
  })

  it.each(['full', 'denied'])(
    'knows that a ride is not stored where storage is %s',
    async (how) => {
      const { send, state } = service()
      state.failure = new ApiError('away', 'The service does not respond.')
      const full = {
        getItem: () => null,
        setItem: () => {
          throw new DOMException('full', 'QuotaExceededError')
        },
        removeItem: () => {},
      } as unknown as Storage
      const outbox = new Outbox(how === 'full' ? full : null, send)
      outbox.add(record(1))
      await vi.advanceTimersByTimeAsync(0)
      expect(outbox.deliveries.get(RACE)).toMatchObject({ state: 'retrying', isStored: false })
      expect(outbox.wouldLose).toBe(true)
      state.failure = null
      outbox.retryNow()
      await vi.advanceTimersByTimeAsync(0)
      expect(outbox.wouldLose).toBe(false)
    },
  )

  it('asks before a page is left that keeps what waits only itself', async () => {
    vi.mocked(sendRide).mockRejectedValue(new ApiError('away', 'The service does not respond.'))
    startOutbox()
    const leave = () => !dispatchEvent(new Event('beforeunload', { cancelable: true }))
    outboxOfPage.add(record(1))
    expect(leave()).toBe(false)
    vi.spyOn(outboxOfPage, 'wouldLose', 'get').mockReturnValueOnce(true)
    expect(leave()).toBe(true)
    vi.mocked(sendRide).mockResolvedValue({ records: 1, improvements: 0, rejected: 0 })
    outboxOfPage.retryNow()
    await vi.advanceTimersByTimeAsync(0)
  })

  it.each([
    ['the network is back', () => dispatchEvent(new Event('online'))],
    ['the service responds again', () => (reachable.value = true)],
  ])('sends at once when %s', async (_, comeBack) => {
    reachable.value = false
    vi.mocked(sendRide).mockRejectedValue(new ApiError('away', 'The service does not respond.'))
    startOutbox()
    // A final record waits for no other one.
    outboxOfPage.add({ ...record(1), event: 'final' })
    // Between the tries after 15 s and after 31 s.
    await vi.advanceTimersByTimeAsync(20_000)
    expect(outboxOfPage.deliveries.get(RACE)?.state).toBe('retrying')
    vi.mocked(sendRide).mockResolvedValue({ records: 1, improvements: 0, rejected: 0 })
    comeBack()
    await vi.advanceTimersByTimeAsync(0)
    expect(outboxOfPage.deliveries.get(RACE)?.state).toBe('sent')
  })
})

it('says what waits where the service takes no rides from the page, and sends nothing', async () => {
  localStorage.setItem(`alleycat.outbox.${RACE}`, JSON.stringify([record(1), record(2)]))
  vi.resetModules()
  vi.doMock('./service', () => ({ reachable, ridesOpen: false }))
  const page = await import('./outbox')
  vi.doUnmock('./service')
  vi.mocked(sendRide).mockClear()
  page.startOutbox()
  await vi.advanceTimersByTimeAsync(5000)
  expect(page.outbox.deliveries.get(RACE)).toMatchObject({ state: 'onDevice', waiting: 2 })
  expect(sendRide).not.toHaveBeenCalled()
})
