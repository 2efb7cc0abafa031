import { expect, it, vi } from 'vitest'
import { effectScope } from 'vue'

import { leaderboard, type Leaderboard } from '../api/client'
import type { OwnRide } from '../race/own-ride'
import { period, stateHash } from '../state/service.fake'
import { settled } from '../test-helpers'
import { useFinishPlace } from './useFinishPlace'

vi.mock('../api/client', () => ({ leaderboard: vi.fn() }))
vi.mock('../state/service', () => import('../state/service.fake'))

const ABOVE = { rank: 1, racerId: 9, name: 'Bo', output: 210 }

/** Returns the place of a ride that ended with 200, where the service shows these rows. */
async function placeIn(standings: object[]) {
  const found = { total: standings.length, standings } as unknown as Leaderboard
  vi.mocked(leaderboard).mockResolvedValue(found)
  const ride = { classId: 1, racerId: 7, outputs: [100, 150, 200] } as OwnRide
  const scope = effectScope()
  const place = scope.run(() => useFinishPlace(ride))!
  expect(place.value).toBeNull()
  await settled()
  scope.stop()
  return place.value
}

/** Returns the place where the service shows the rider with `output`. */
const placeOf = (output: number, newRecord = false) =>
  placeIn([ABOVE, { rank: 2, racerId: 7, name: null, output, newRecord }])

it('is that of the last output, and says what the next place takes', async () => {
  expect(await placeOf(200)).toEqual({
    rank: 2,
    total: 2,
    better: null,
    isStored: true,
    next: { rank: 1, racerId: 9, gap: 10 },
  })
  const query = { by: 'finish', racerId: 7, output: 200, around: 7, limit: 100 }
  expect(leaderboard).toHaveBeenCalledWith(1, query)
})

it('is that of a better finish before', async () => {
  expect(await placeOf(205)).toMatchObject({ better: 205, isStored: true })
})

it('is not the rider’s yet where the service has no finish that is as good', async () => {
  expect((await placeOf(200, true))?.isStored).toBe(false)
})

it('is not known where the service does not show the rider', async () => {
  expect(await placeIn([ABOVE])).toBeNull()
})

it('is loaded again when the class has changed, and at intervals', async () => {
  stateHash.value = 'a'
  const ride = { classId: 1, racerId: 7, outputs: [100, 200] } as OwnRide
  const found = { total: 1, standings: [] } as unknown as Leaderboard
  vi.mocked(leaderboard).mockReset().mockResolvedValue(found)
  const scope = effectScope()
  scope.run(() => useFinishPlace(ride))
  await settled()
  expect(leaderboard).toHaveBeenCalledTimes(1)
  stateHash.value = 'b'
  await settled()
  expect(leaderboard).toHaveBeenCalledTimes(2)
  period.value += 1
  await settled()
  expect(leaderboard).toHaveBeenCalledTimes(3)
  stateHash.value = 'c'
  period.value += 1
  await settled()
  expect(leaderboard).toHaveBeenCalledTimes(4)
  scope.stop()
})
