// @vitest-environment happy-dom
import { expect, it } from 'vitest'

import type { RideRecord } from '../api/client'
import { Ride } from '../race/ride'
import { RideSender } from './sending'

const GUEST = { racerId: 7, name: 'Visitor', guest: true }

function sender(rider = GUEST) {
  const records: RideRecord[] = []
  const sender = new RideSender(1000, 3, () => rider, {
    add: (record) => void records.push(record),
  })
  const ride = new Ride()
  const rideSecond = (second: number, isFinal = false) =>
    sender.add(ride.add(second, 80, 78, null), isFinal)
  return { records, sender, rideSecond }
}

it('a guest names itself, as the page does, and nobody else is named', () => {
  const guest = sender()
  guest.rideSecond(1)
  const { uuid, deviceTimestamp, ...rest } = guest.records[0] ?? ({} as RideRecord)
  expect(uuid).toMatch(/^[\da-f]{8}-[\da-f]{4}-4[\da-f]{3}-[89ab][\da-f]{3}-[\da-f]{12}$/)
  expect(deviceTimestamp).toBeGreaterThan(1e12)
  const identity = { racerId: 7, name: 'Visitor', classId: 3, raceId: 1000 }
  expect(rest).toEqual({ ...identity, event: 'update', second: 1, cadence: 80, resistance: 78 })

  const known = sender({ racerId: 17, name: 'Racer 17', guest: false })
  known.rideSecond(1)
  expect(known.records[0]).not.toHaveProperty('name')

  const nameless = sender({ racerId: 7, name: ' \u200b\u202e ', guest: true })
  nameless.rideSecond(1)
  expect(nameless.records[0]?.name).toBe('Guest')
})

it('a ride that is given up ends with its last second', () => {
  const { records, sender: given, rideSecond } = sender()
  rideSecond(1)
  rideSecond(2)
  given.end()
  given.end()
  rideSecond(3)
  expect(records.map(({ second, event }) => [second, event])).toEqual([
    [1, 'update'],
    [2, 'update'],
    [2, 'final'],
  ])
  expect(new Set(records.map(({ uuid }) => uuid)).size).toBe(3)
})

it('a ride without a second has no end, and a whole one has one', () => {
  const empty = sender()
  empty.sender.end()
  expect(empty.records).toEqual([])
  const whole = sender()
  whole.rideSecond(300, true)
  whole.sender.end()
  expect(whole.records.map(({ event }) => event)).toEqual(['final'])
})
