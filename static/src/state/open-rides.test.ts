// @vitest-environment happy-dom
import { beforeEach, expect, it, vi } from 'vitest'

import type { RideRecord } from '../api/client'
import { Ride } from '../race/ride'
import { reportLeftRides, takeLeftRides } from './open-rides'
import { RideSender } from './sending'

/** The locks of all tabs: by name, what waits behind the tab that holds it. */
const locks = vi.hoisted(() => {
  const locks = new Map<string, (() => unknown)[]>()
  const request = (name: string, callback: () => unknown) => {
    const waiting = locks.get(name)
    if (waiting) waiting.push(callback)
    else {
      locks.set(name, [])
      callback()
    }
    return new Promise(() => {})
  }
  Object.defineProperty(navigator, 'locks', { value: { request } })
  return locks
})

/** The tabs that hold locks are gone: the next ones get them. */
function killTabs(): void {
  for (const [name, waiting] of [...locks]) {
    const next = waiting.shift()
    if (next) next()
    else locks.delete(name)
  }
}

const GUEST = { racerId: 7, name: 'Visitor', guest: true }

/** Rides two seconds of a race, and returns the sender. */
function rideTwoSeconds(raceId = 1000): RideSender {
  const sender = new RideSender(raceId, 3, () => GUEST, { add: () => {} })
  const ride = new Ride()
  for (const second of [1, 2]) sender.add(ride.add(second, 80, 78, null), false)
  return sender
}

/**
 * Opens another page of this device. Returns the races that it takes over, the records that it sends to end them, and the races
 * that it reports as sent by another page.
 */
function openPage(take = takeLeftRides) {
  const taken: number[] = []
  const reported: number[] = []
  const records: RideRecord[] = []
  take({
    take: (raceId) => void taken.push(raceId),
    reportOnDevice: (raceId) => void reported.push(raceId),
    add: (record) => void records.push(record),
  })
  return { taken, records, reported }
}

const listen = vi.spyOn(globalThis, 'addEventListener')

beforeEach(() => {
  // The pages of the test before are gone.
  for (const [type, listener] of listen.mock.calls) removeEventListener(type, listener)
  listen.mockClear()
  localStorage.clear()
  locks.clear()
})

it('a later page ends the ride of a tab that was killed, once', () => {
  rideTwoSeconds()
  killTabs()
  const { taken, records } = openPage()
  const [record, ...others] = records
  expect(record).toMatchObject({ event: 'final', raceId: 1000, second: 2, name: 'Visitor' })
  expect([taken, others]).toEqual([[1000], []])
  killTabs()
  expect(openPage().records).toEqual([])
})

it('a ride that another tab still rides goes on, and is taken over when that tab is gone', () => {
  rideTwoSeconds()
  const page = openPage()
  expect(page).toEqual({ taken: [], records: [], reported: [1000] })
  killTabs()
  expect(page.taken).toEqual([1000])
  expect(page.records).toHaveLength(1)
})

it('what waits of a whole ride is sent by its tab alone, and by another one when it is gone', () => {
  const page = openPage()
  const sender = rideTwoSeconds()
  localStorage.setItem('alleycat.outbox.1000', '[]')
  sender.add(new Ride().add(300, 80, 78, null), true)
  for (const key of ['alleycat.outbox.1000', 'alleycat.outbox.1000', 'alleycat.rides.1000']) {
    dispatchEvent(new StorageEvent('storage', { key }))
  }
  // Every second of a ride is such an event.
  expect(locks.get('alleycat.ride.1000')).toHaveLength(1)
  // Each may be a change of what waits.
  expect(page).toEqual({ taken: [], records: [], reported: [1000, 1000] })
  killTabs()
  expect(page).toEqual({ taken: [1000], records: [], reported: [1000, 1000] })
})

it('two pages that are opened at once end a ride once', () => {
  rideTwoSeconds()
  killTabs()
  const pages = [openPage(), openPage()]
  expect(pages.flatMap(({ records }) => records)).toHaveLength(1)
})

it('a ride that was ended leaves nothing on the device', () => {
  rideTwoSeconds().end()
  const whole = rideTwoSeconds(2000)
  whole.add(new Ride().add(300, 80, 78, null), true)
  expect(localStorage.length).toBe(0)
  killTabs()
  expect(openPage().records).toEqual([])
})

it('a page without locks keeps no record, and takes over only what waits when it opens', async () => {
  // The origin is not secure.
  vi.stubGlobal('navigator', {})
  vi.resetModules()
  const insecure = await import('./open-rides')
  vi.unstubAllGlobals()
  new insecure.OpenRide(1000).keep({ raceId: 1000, second: 1 } as RideRecord)
  expect(localStorage.length).toBe(0)
  localStorage.setItem('alleycat.outbox.2000', '[]')
  const page = openPage(insecure.takeLeftRides)
  // Of a tab that rides.
  dispatchEvent(new StorageEvent('storage', { key: 'alleycat.outbox.3000' }))
  expect(page).toEqual({ taken: [2000], records: [], reported: [] })
})

it('a stored record that is broken is dropped', () => {
  localStorage.setItem('alleycat.ride.5', '{')
  expect(openPage().records).toEqual([])
  expect(localStorage.length).toBe(0)
})

it('reports the rides that are on the device, and no other keys', () => {
  const keys = ['alleycat.outbox.1000', 'alleycat.rides.2000', 'alleycat.rider']
  for (const key of keys) localStorage.setItem(key, '[]')
  const reportOnDevice = vi.fn()
  reportLeftRides({ reportOnDevice })
  expect(reportOnDevice.mock.calls).toEqual([[1000]])
  // A tab of before may send, and a tab that is opened later.
  dispatchEvent(new StorageEvent('storage', { key: 'alleycat.outbox.1000' }))
  expect(reportOnDevice.mock.calls).toEqual([[1000], [1000]])
})
