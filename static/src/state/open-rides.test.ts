// @vitest-environment happy-dom
import { beforeEach, expect, it, vi } from 'vitest'

import type { RideRecord } from '../api/client'
import { Ride } from '../race/ride'
import { endLeftRides } from './open-rides'
import { RideSender } from './sending'

/** The names of the locks that tabs hold. */
const held = vi.hoisted(() => {
  const held = new Set<string>()
  type Callback = (lock: object | null) => unknown
  async function request(name: string, ...rest: [...unknown[], Callback]): Promise<void> {
    const callback = rest.at(-1) as Callback
    if (held.has(name)) return void (await callback(null))
    held.add(name)
    await callback({ name })
    held.delete(name)
  }
  Object.defineProperty(navigator, 'locks', { value: { request } })
  return held
})

const GUEST = { racerId: 7, name: 'Visitor', guest: true }

/** Rides two seconds of a race, and returns the sender. */
function rideTwoSeconds(raceId = 1000): RideSender {
  const sender = new RideSender(raceId, 3, GUEST, { add: () => {} })
  const ride = new Ride()
  for (const second of [1, 2]) sender.add(ride.add(second, 80, 78, null), false)
  return sender
}

/** Opens another page of this device, and returns what it sends. */
async function openPage(): Promise<RideRecord[]> {
  const records: RideRecord[] = []
  await endLeftRides({ add: (record) => void records.push(record) })
  return records
}

beforeEach(() => {
  localStorage.clear()
  held.clear()
})

it('a later page ends the ride of a tab that was killed, once', async () => {
  rideTwoSeconds()
  held.clear()
  const [record, ...others] = await openPage()
  expect(record).toMatchObject({ event: 'final', raceId: 1000, second: 2, name: 'Visitor' })
  expect(others).toEqual([])
  expect(await openPage()).toEqual([])
})

it('a ride that another tab still rides goes on', async () => {
  rideTwoSeconds()
  expect(await openPage()).toEqual([])
  held.clear()
  expect(await openPage()).toHaveLength(1)
})

it('two pages that are opened at once end a ride once', async () => {
  rideTwoSeconds()
  held.clear()
  const records = await Promise.all([openPage(), openPage()])
  expect(records.flat()).toHaveLength(1)
})

it('a ride that was ended leaves nothing on the device', async () => {
  rideTwoSeconds().end()
  const whole = rideTwoSeconds(2000)
  whole.add(new Ride().add(300, 80, 78, null), true)
  await vi.waitFor(() => expect(held.size).toBe(0))
  expect(localStorage.length).toBe(0)
  expect(await openPage()).toEqual([])
})

it('a stored record that is broken is dropped', async () => {
  localStorage.setItem('alleycat.ride.5', '{')
  expect(await openPage()).toEqual([])
  expect(localStorage.length).toBe(0)
})
