import { expect, it } from 'vitest'

import type { RaceBoard } from '../api/client'
import { BOARDS_MAX, keepBoard } from './recent-boards'

it('of too many boards those that changed longest ago leave, except the needed ones', () => {
  const boards = new Map<number, RaceBoard>()
  const isNeeded = (raceId: number) => raceId === 1
  const keep = (raceId: number) => keepBoard(boards, { raceId } as RaceBoard, isNeeded)
  for (let raceId = 1; raceId <= BOARDS_MAX; raceId++) keep(raceId)
  keep(2)
  keep(101)
  keep(102)
  const kept = [...boards.keys()]
  expect(kept).toHaveLength(BOARDS_MAX + 1)
  expect(kept).toEqual(expect.arrayContaining([1, 2, 101, 102]))
  expect(kept).not.toContain(3)
})
