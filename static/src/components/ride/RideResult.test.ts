// @vitest-environment happy-dom
import { expect, it, vi } from 'vitest'
import { createApp } from 'vue'

import type { OwnRide } from '../../race/own-ride'
import { router } from '../../router'
import RideResult from './RideResult.vue'

vi.mock('../../api/client', () => ({ leaderboard: () => new Promise(() => {}), sendRide: vi.fn() }))
vi.mock('../Curves.vue', () => ({ default: { render: () => null } }))

const RIDE: OwnRide = {
  raceId: 1,
  classId: 1,
  racerId: 1,
  riderName: 'Ada',
  practice: false,
  sent: true,
  delivered: true,
  refused: null,
  cadences: [80],
  resistances: [78],
  outputs: [120],
  bests: [null],
  ranks: [3],
  totals: [9],
  classRecords: [200],
}

/** Returns the text of a ride's result. */
function textOf(ride: Partial<OwnRide>): string {
  const page = document.createElement('div')
  const app = createApp(RideResult, { ride: { ...RIDE, ...ride } }).use(router)
  app.mount(page)
  const text = page.textContent
  app.unmount()
  return text
}

it.each([
  [{}, ['From now on there are bests to beat.', 'to be beaten next time'], 'would'],
  [{ bests: [100] }, ['1 personal record.', 'Records broken'], 'would'],
  [{ rejected: 1 }, ['would be your first ride', 'Would be first bests'], 'beaten'],
  [
    { rejected: 1, bests: [100] },
    ['would be 1 personal record.', 'Would be records'],
    'Records broken',
  ],
])('the result of a ride with %j says %j, and not "%s"', (ride, said, unsaid) => {
  const text = textOf(ride)
  for (const part of said) expect(text).toContain(part)
  expect(text).not.toContain(unsaid)
})
