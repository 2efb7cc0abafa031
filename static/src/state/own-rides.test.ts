// @vitest-environment happy-dom
import { beforeEach, expect, it, vi } from 'vitest'
import { nextTick } from 'vue'

import type { OwnRide } from '../race/own-ride'
import { outbox } from './outbox'
import { isUnstored, keepRide, ownRide, ownRides, parseRide } from './own-rides'

vi.mock('../api/client', () => ({ sendRide: vi.fn() }))

const REFUSED = {
  state: 'refused',
  waiting: 0,
  rejected: 0,
  anyTaken: false,
  reason: 'wrong clock',
  isStored: true,
} as const

function ride(raceId: number): OwnRide {
  const head = { raceId, classId: 1, racerId: 7, riderName: 'Ada', practice: false, sent: true }
  const columns = { cadences: [80], resistances: [40], outputs: [120], bests: [null] }
  const unsent = { delivered: false, refused: null }
  return { ...head, ...unsent, ...columns, ranks: [1], totals: [1], classRecords: [null] }
}

/** Keeps a ride as another tab does, after this page was opened. */
function keepInOtherTab(ride: OwnRide): void {
  const key = `alleycat.rides.${ride.raceId}`
  localStorage.setItem(key, JSON.stringify(ride))
  dispatchEvent(new StorageEvent('storage', { key }))
}

beforeEach(() => {
  outbox.deliveries.clear()
  localStorage.clear()
  dispatchEvent(new StorageEvent('storage', { key: null }))
})

it('a ride that was refused before its end is kept as refused', async () => {
  outbox.deliveries.set(1, REFUSED)
  await nextTick()
  keepRide(ride(1))
  expect(ownRide(1)?.refused).toBe('wrong clock')
})

it('a ride of which a part was taken is kept as such, also after the outbox has forgotten it', () => {
  outbox.deliveries.set(1, { ...REFUSED, anyTaken: true })
  keepRide(ride(1))
  expect(ownRide(1)).toMatchObject({ refused: 'wrong clock', anyTaken: true })
  outbox.deliveries.clear()
  keepRide(ride(1))
  expect(ownRide(1)?.anyTaken).toBe(true)
})

it('a later version of a ride does not undo its refusal', async () => {
  keepRide(ride(1))
  outbox.deliveries.set(1, REFUSED)
  await nextTick()
  expect(ownRide(1)?.refused).toBe('wrong clock')
  outbox.deliveries.clear()
  keepRide(ride(1))
  expect(ownRide(1)?.refused).toBe('wrong clock')
})

it('rides are kept newest first, also when an older one is refused', async () => {
  for (const raceId of [1, 2, 3]) keepRide(ride(raceId))
  outbox.deliveries.set(2, REFUSED)
  await nextTick()
  expect(ownRides.value.map(({ raceId }) => raceId)).toEqual([3, 2, 1])
})

it('the ten newest rides are kept', () => {
  for (let raceId = 1; raceId <= 11; raceId++) keepRide(ride(raceId))
  expect(ownRides.value.map(({ raceId }) => raceId)).toEqual([11, 10, 9, 8, 7, 6, 5, 4, 3, 2])
  expect(localStorage.length).toBe(10)
})

it('a ride that is older than the ten newest is not stored', () => {
  for (let raceId = 2; raceId <= 11; raceId++) keepRide(ride(raceId))
  keepRide(ride(1))
  expect(ownRide(1)).toBeNull()
  expect(localStorage.length).toBe(10)
})

it('a ride that another tab keeps at the same time is not lost', () => {
  // No event of it has come.
  localStorage.setItem('alleycat.rides.2', JSON.stringify(ride(2)))
  keepRide(ride(1))
  keepInOtherTab(ride(3))
  expect(ownRides.value.map(({ raceId }) => raceId)).toEqual([3, 2, 1])
})

it('a ride for which the storage has no room is in the list, while the page is open', async () => {
  const setItem = () => {
    throw new DOMException('full', 'QuotaExceededError')
  }
  const device = localStorage
  // Its keys are those of the device.
  const full = new Proxy(device, {
    get: (_, name) => (name === 'setItem' ? setItem : device[name as 'getItem'].bind(device)),
  })
  vi.stubGlobal('localStorage', full)
  vi.resetModules()
  const page = await import('./own-rides')
  vi.unstubAllGlobals()
  // The device has an earlier version.
  keepInOtherTab(ride(1))
  page.keepRide({ ...ride(1), riderName: 'Bo' })
  expect(page.ownRide(1)?.riderName).toBe('Bo')
  keepInOtherTab(ride(2))
  expect(page.ownRides.value.map(({ riderName }) => riderName)).toEqual(['Ada', 'Bo'])
  expect([1, 2].map((raceId) => page.isUnstored(raceId))).toEqual([true, false])
})

it('a ride that the storage takes later is stored', () => {
  vi.spyOn(localStorage, 'setItem').mockImplementationOnce(() => {
    throw new DOMException('full', 'QuotaExceededError')
  })
  keepRide(ride(1))
  expect(isUnstored(1)).toBe(true)
  keepRide(ride(1))
  expect(isUnstored(1)).toBe(false)
})

it('no ride is left when another tab clears the storage, not even one that was not stored', () => {
  vi.spyOn(localStorage, 'setItem').mockImplementationOnce(() => {
    throw new DOMException('full', 'QuotaExceededError')
  })
  keepRide(ride(1))
  keepRide(ride(2))
  localStorage.clear()
  dispatchEvent(new StorageEvent('storage', { key: null }))
  expect(ownRides.value).toEqual([])
})

it('a ride is delivered once the outbox has sent it, and stays so', async () => {
  keepRide(ride(1))
  expect(ownRide(1)?.delivered).toBe(false)
  outbox.deliveries.set(1, {
    state: 'sent',
    waiting: 0,
    rejected: 0,
    anyTaken: true,
    reason: null,
    isStored: true,
  })
  await nextTick()
  expect(ownRide(1)?.delivered).toBe(true)
  outbox.deliveries.clear()
  keepRide(ride(1))
  expect(ownRide(1)?.delivered).toBe(true)
})

it('a ride keeps how many of its records were rejected, also without the outbox', async () => {
  outbox.deliveries.set(1, {
    state: 'sending',
    waiting: 1,
    rejected: 2,
    anyTaken: true,
    reason: null,
    isStored: true,
  })
  keepRide(ride(1))
  expect(ownRide(1)?.rejected).toBe(2)
  outbox.deliveries.set(1, {
    state: 'sent',
    waiting: 0,
    rejected: 3,
    anyTaken: true,
    reason: null,
    isStored: true,
  })
  await nextTick()
  expect(ownRide(1)).toMatchObject({ delivered: true, rejected: 3 })
  outbox.deliveries.clear()
  keepRide(ride(1))
  expect(ownRide(1)?.rejected).toBe(3)
})

it('what a later page counts is added to what earlier pages counted', async () => {
  outbox.deliveries.set(1, {
    state: 'sending',
    waiting: 100,
    rejected: 200,
    anyTaken: true,
    reason: null,
    isStored: true,
  })
  keepRide(ride(1))
  await nextTick()
  vi.resetModules()
  const later = await import('./own-rides')
  const { deliveries } = (await import('./outbox')).outbox
  deliveries.set(1, {
    state: 'sent',
    waiting: 0,
    rejected: 100,
    anyTaken: true,
    reason: null,
    isStored: true,
  })
  await nextTick()
  expect(later.ownRide(1)).toMatchObject({ delivered: true, rejected: 300 })
})

it('what this page counts is added to what another tab has counted', async () => {
  keepInOtherTab({ ...ride(20), rejected: 2 })
  outbox.deliveries.set(20, {
    state: 'sent',
    waiting: 0,
    rejected: 1,
    anyTaken: true,
    reason: null,
    isStored: true,
  })
  await nextTick()
  expect(ownRide(20)?.rejected).toBe(3)
  keepRide(ride(20))
  expect(ownRide(20)?.rejected).toBe(3)
})

it('a stored ride without all columns is dropped', () => {
  const partial = { ...ride(2), bests: undefined }
  expect(parseRide(JSON.stringify(ride(1)))).toEqual(ride(1))
  expect(parseRide(JSON.stringify(partial))).toBeNull()
  expect(parseRide('null')).toBeNull()
  expect(parseRide('no JSON')).toBeNull()
})

it('a ride that another tab removed is not in the list, and other keys of the device stay', () => {
  keepRide(ride(1))
  keepRide(ride(2))
  localStorage.setItem('alleycat.rides.3', '{"raceId":3}')
  localStorage.setItem('alleycat.theme', 'dark')
  localStorage.removeItem('alleycat.rides.1')
  dispatchEvent(new StorageEvent('storage', { key: 'alleycat.rides.1' }))
  expect(ownRides.value.map(({ raceId }) => raceId)).toEqual([2])
  // The one that cannot be read is removed.
  expect(Object.keys(localStorage).sort()).toEqual(['alleycat.rides.2', 'alleycat.theme'])
})

it('a ride is not stored again while nothing new is known of it', async () => {
  keepRide(ride(1))
  keepRide(ride(2))
  outbox.deliveries.set(1, { ...REFUSED, state: 'sent', reason: null })
  outbox.deliveries.set(2, REFUSED)
  await nextTick()
  const setItem = vi.spyOn(localStorage, 'setItem')
  outbox.deliveries.set(3, { ...REFUSED, state: 'sending' })
  await nextTick()
  expect(setItem).not.toHaveBeenCalled()
  setItem.mockRestore()
})

it('a kept ride says at once that a record was rejected', async () => {
  keepRide(ride(1))
  outbox.deliveries.set(1, { ...REFUSED, state: 'sending', reason: null, rejected: 1 })
  await nextTick()
  expect(ownRide(1)?.rejected).toBe(1)
})
