// @vitest-environment happy-dom
import { expect, it, vi } from 'vitest'
import { createApp, h, type SetupContext } from 'vue'

import type { OwnRide } from '../race/own-ride'
import { NEW_DELIVERY, outbox } from '../state/outbox'
import OwnRides from './OwnRides.vue'

vi.mock('../api/client', () => ({ sendRide: vi.fn() }))

const RIDE = {
  raceId: 1,
  classId: 3,
  riderName: 'Ada',
  practice: false,
  sent: true,
  delivered: true,
  refused: null,
  cadences: [80, 80],
  resistances: [40, 40],
  outputs: [120, 130],
  bests: [null, null],
  ranks: [4, 2],
  totals: [9, 9],
  classRecords: [null, null],
} as unknown as OwnRide

const BEGIN = 'as Ada, average 125.00, best rank 2nd'

/** Returns the note of the only ride. */
function noteOf(): string | undefined {
  dispatchEvent(new StorageEvent('storage', { key: null }))
  const page = document.createElement('div')
  const app = createApp(OwnRides)
  const link = (_: object, { slots }: Pick<SetupContext, 'slots'>) => h('a', slots.default?.())
  app.component('RouterLink', link)
  app.mount(page)
  const note = page.querySelector('li span')?.textContent.trim()
  app.unmount()
  return note
}

it('says that the best rank is the best known one where a rank is not known', () => {
  localStorage.setItem('alleycat.rides.1', JSON.stringify({ ...RIDE, ranks: [4, null] }))
  expect(noteOf()).toBe('as Ada, average 125.00, best known rank 4th')
})

it.each<[string, Partial<OwnRide>, number, string]>([
  ['is stored', {}, 0, ''],
  ['is practice', { practice: true, sent: false }, 0, ', practice'],
  ['was given up and waits', { gaveUp: true }, 2, ', given up at 0:02, waits to be sent'],
  ['was refused', { refused: 'the class is full' }, 0, ', not taken by the service'],
  [
    'was refused after a part',
    { refused: 'too late', anyTaken: true },
    0,
    ', not all of it taken by the service',
  ],
  ['was rejected in part', { rejected: 1 }, 0, ''],
  ['was rejected', { rejected: 2 }, 0, ', not taken by the service'],
])('says of a ride that %s what is special', (_, change, waiting, notes) => {
  // As an earlier page has kept it.
  localStorage.setItem('alleycat.rides.1', JSON.stringify({ ...RIDE, ...change }))
  if (waiting > 0) outbox.deliveries.set(1, { ...NEW_DELIVERY, state: 'retrying', waiting })
  expect(noteOf()).toBe(BEGIN + notes)
  outbox.deliveries.clear()
})
