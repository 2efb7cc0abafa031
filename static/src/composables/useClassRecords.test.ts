import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { effectScope, shallowReactive, type EffectScope } from 'vue'

import { leaderboard, type Leaderboard } from '../api/client'
import { useClassRecords } from './useClassRecords'

vi.mock('../api/client', () => ({ leaderboard: vi.fn() }))
interface Listed {
  classId: number
  stateHash: string
}
const mocked = vi.hoisted(() => ({ service: null as unknown as { classes: Listed[] } }))
vi.mock('../state/service', () => {
  mocked.service = shallowReactive({ classes: [] })
  const boardState = (id: number) =>
    mocked.service.classes.find(({ classId }) => classId === id)?.stateHash
  return { ...mocked, boardState }
})

let scope: EffectScope
beforeEach(() => {
  scope = effectScope()
  vi.mocked(leaderboard).mockReset()
})
afterEach(() => scope.stop())

/** Waits for all that is on its way. */
const settled = () => new Promise((resolve) => setTimeout(resolve))

function boardOf(output: number): Leaderboard {
  return { standings: [{ racerId: 7, output }] } as unknown as Leaderboard
}

it('a late response for an earlier state does not replace the record', async () => {
  let respond: (board: Leaderboard) => void = () => {}
  vi.mocked(leaderboard)
    .mockReturnValueOnce(new Promise((resolve) => (respond = resolve)))
    .mockResolvedValue(boardOf(210))
  mocked.service.classes = [{ classId: 1, stateHash: 'A' }]
  const records = scope.run(useClassRecords)!
  mocked.service.classes = [{ classId: 1, stateHash: 'B' }]
  await settled()
  respond(boardOf(200))
  await settled()
  expect(records.get(1)?.output).toBe(210)
})

it('a record that could not be loaded is loaded after the next poll', async () => {
  vi.mocked(leaderboard).mockRejectedValueOnce(new Error('away')).mockResolvedValue(boardOf(200))
  const poll = () => (mocked.service.classes = [{ classId: 1, stateHash: 'A' }])
  poll()
  const records = scope.run(useClassRecords)!
  await settled()
  expect(records.has(1)).toBe(false)
  poll()
  await settled()
  expect(records.get(1)?.output).toBe(200)
  poll()
  await settled()
  expect(leaderboard).toHaveBeenCalledTimes(2)
})
