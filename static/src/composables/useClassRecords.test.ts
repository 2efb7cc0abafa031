import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { effectScope, shallowReactive, type EffectScope } from 'vue'

import { leaderboard, type Leaderboard } from '../api/client'
import { settled } from '../test-helpers'
import { useClassRecords } from './useClassRecords'

vi.mock('../api/client', () => ({ leaderboard: vi.fn() }))
interface Listed {
  classId: number
  stateHash: string
}
const mocked = vi.hoisted(() => ({
  service: null as unknown as { classes: Listed[]; now: number },
}))
vi.mock('../state/service', () => {
  mocked.service = shallowReactive({ classes: [], now: 0 })
  const boardState = (id: number) =>
    mocked.service.classes.find(({ classId }) => classId === id)?.stateHash
  return { ...mocked, boardState, reachable: { value: true } }
})

let scope: EffectScope
beforeEach(() => {
  scope = effectScope()
  vi.mocked(leaderboard).mockReset()
  poll('A')
})
afterEach(() => scope.stop())

/** The page polls, and finds class 1 in this state. Class 2 never changes. */
function poll(stateHash: string): void {
  mocked.service.classes = [
    { classId: 1, stateHash },
    { classId: 2, stateHash: 'A' },
  ]
  mocked.service.now += 1
}

function boardOf(output: number): Leaderboard {
  return { standings: [{ racerId: 7, output }] } as unknown as Leaderboard
}

it('a class that changes while its record is loaded has the later one', async () => {
  let respond: (board: Leaderboard) => void = () => {}
  vi.mocked(leaderboard)
    .mockReturnValueOnce(new Promise((resolve) => (respond = resolve)))
    .mockResolvedValue(boardOf(210))
  const records = scope.run(useClassRecords)!
  poll('B')
  await settled()
  respond(boardOf(200))
  await settled()
  expect(records.get(1)?.output).toBe(210)
})

it('a record that failed is loaded again, although a poll came while the others were loading', async () => {
  let respond: (board: Leaderboard) => void = () => {}
  vi.mocked(leaderboard)
    .mockRejectedValueOnce(new Error('away'))
    .mockReturnValueOnce(new Promise((resolve) => (respond = resolve)))
    .mockResolvedValue(boardOf(210))
  const records = scope.run(useClassRecords)!
  await settled()
  poll('A')
  await settled()
  expect(leaderboard).toHaveBeenCalledTimes(2)
  respond(boardOf(200))
  await settled()
  expect([records.get(1), records.get(2)?.output]).toEqual([undefined, 200])
  poll('A')
  await settled()
  expect(records.get(1)?.output).toBe(210)
  expect(leaderboard).toHaveBeenCalledTimes(3)
})

it('a record is loaded once for each state, and one that failed after polls, less and less often', async () => {
  vi.mocked(leaderboard).mockRejectedValue(new Error('away'))
  const records = scope.run(useClassRecords)!
  await settled()
  const loads: number[] = []
  for (let polls = 0; polls < 7; polls++) {
    poll('A')
    await settled()
    loads.push(vi.mocked(leaderboard).mock.calls.length / 2)
  }
  // At once, and after 1, 3 and 7 polls.
  expect(loads).toEqual([2, 2, 3, 3, 3, 3, 4])
  vi.mocked(leaderboard).mockResolvedValue(boardOf(200))
  poll('B')
  await settled()
  expect(records.get(1)?.output).toBe(200)
  vi.mocked(leaderboard).mockClear()
  poll('B')
  await settled()
  expect(leaderboard).not.toHaveBeenCalled()
  poll('C')
  await settled()
  expect(leaderboard).toHaveBeenCalledExactlyOnceWith(1, { limit: 1 })
})
