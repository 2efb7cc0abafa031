import { expect, it, vi } from 'vitest'
import { effectScope } from 'vue'

import type { LiveBoard } from '../race/board'
import type { OwnRide } from '../race/own-ride'
import { boardNow } from '../state/board-source'
import { stateHash } from '../state/service.fake'
import { usePlaceNow } from './usePlaceNow'

vi.mock('../state/board-source', () => ({ boardNow: vi.fn() }))
vi.mock('../state/service', () => import('../state/service.fake'))

it('is that of the last output at the last second, and follows the class', async () => {
  stateHash.value = 'a'
  const boardOf = (rank: number) => ({ rank, total: 9, rows: [] }) as unknown as LiveBoard
  vi.mocked(boardNow).mockResolvedValueOnce(boardOf(4)).mockResolvedValueOnce(boardOf(5))
  const ride = { classId: 1, racerId: 7, outputs: [100, 200] } as OwnRide
  const scope = effectScope()
  const place = scope.run(() => usePlaceNow(ride))!
  expect(place.value).toBeNull()
  await new Promise((resolve) => setTimeout(resolve))
  expect(boardNow).toHaveBeenCalledWith(1, 2, { racerId: 7, output: 200 }, 9)
  expect(place.value?.rank).toBe(4)
  stateHash.value = 'b'
  await new Promise((resolve) => setTimeout(resolve))
  expect(place.value?.rank).toBe(5)
  scope.stop()
})
