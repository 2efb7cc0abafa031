import { expect, it, vi } from 'vitest'
import { effectScope } from 'vue'

import type { LiveBoard } from '../race/board'
import type { OwnRide } from '../race/own-ride'
import { boardNow } from '../state/board-source'
import { stateHash } from '../state/service.fake'
import { settled } from '../test-helpers'
import { usePlaceNow } from './usePlaceNow'

vi.mock('../state/board-source', () => ({ boardNow: vi.fn() }))
vi.mock('../state/service', () => import('../state/service.fake'))

it('is loaded once where it is opened before the classes are known', async () => {
  stateHash.value = undefined
  vi.mocked(boardNow).mockResolvedValue({ rank: 4 } as LiveBoard)
  const scope = effectScope()
  const ride = { classId: 1, racerId: 7, outputs: [100] } as unknown as OwnRide
  const place = scope.run(() => usePlaceNow(ride))!
  await vi.waitFor(() => expect(place.value?.rank).toBe(4))
  stateHash.value = 'a'
  await settled()
  expect(boardNow).toHaveBeenCalledTimes(1)
  scope.stop()
})

it('is that of the last output at the last second, and follows the class', async () => {
  stateHash.value = 'a'
  const boardOf = (rank: number) => ({ rank, total: 9, rows: [] }) as unknown as LiveBoard
  vi.mocked(boardNow).mockResolvedValueOnce(boardOf(4)).mockResolvedValueOnce(boardOf(5))
  const ride = { classId: 1, racerId: 7, outputs: [100, 200] } as OwnRide
  const scope = effectScope()
  const place = scope.run(() => usePlaceNow(ride))!
  expect(place.value).toBeNull()
  await settled()
  expect(boardNow).toHaveBeenCalledWith(1, 2, { racerId: 7, output: 200 }, 100)
  expect(place.value?.rank).toBe(4)
  stateHash.value = 'b'
  await settled()
  expect(place.value?.rank).toBe(5)
  scope.stop()
})
