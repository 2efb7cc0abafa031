import { afterEach, expect, it, vi } from 'vitest'
import { effectScope, shallowReactive } from 'vue'

import { leaderboard, type Leaderboard } from '../api/client'
import { useClassRecords } from './useClassRecords'

vi.mock('../api/client', () => ({ leaderboard: vi.fn() }))
const mocked = vi.hoisted(() => ({ service: null as unknown as { classes: object[] } }))
vi.mock('../state/service', () => {
  mocked.service = shallowReactive({ classes: [] })
  return mocked
})

const scope = effectScope()
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
