// @vitest-environment happy-dom
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { effectScope, reactive, ref, type EffectScope } from 'vue'

import { leaderboard, type Leaderboard } from '../api/client'
import { ApiError } from '../api/request'
import { FIRST_ADDRESS, withChange, type ExploreAddress } from '../race/explore-address'
import { period, service, stateHash } from '../state/service.fake'
import { settled } from '../test-helpers'
import { useBoard } from './useBoard'

vi.mock('../api/client', () => ({ leaderboard: vi.fn() }))
vi.mock('../state/service', () => import('../state/service.fake'))

const AWAY = new ApiError('away', 'away')
const EMPTY = { total: 0, standings: [] } as unknown as Leaderboard
const FOUND = { total: 1, standings: [{ racerId: 2, name: 'Bo' }] } as unknown as Leaderboard

let scope: EffectScope

function open(around: number | null, change: Partial<ExploreAddress> = {}) {
  const address = ref<ExploreAddress>({ ...FIRST_ADDRESS, around, ...change })
  const adjust = (change: Partial<ExploreAddress>) => {
    address.value = withChange(address.value, change)
  }
  const page = scope.run(() => useBoard(1, { address, adjust, go: vi.fn() }))!
  return { address, page: reactive(page) }
}

beforeEach(() => {
  scope = effectScope()
  stateHash.value = 'A'
  vi.mocked(leaderboard).mockReset()
})

afterEach(() => scope.stop())

it.each([
  ['of another board', async () => Promise.reject(new ApiError('refused', 'invalid cursor'))],
  ['whose racers are all before it by now', async () => ({ ...EMPTY, total: 9 })],
])('a page %s becomes the first one', async (_, respond) => {
  vi.mocked(leaderboard).mockImplementationOnce(respond).mockResolvedValue(FOUND)
  const { address, page } = open(null, { page: 'of another board' })
  await settled()
  expect(address.value.page).toBeNull()
  expect([page.board?.total, page.failure]).toEqual([1, ''])
  expect(leaderboard).toHaveBeenCalledTimes(2)
})

it('a response to an earlier search does not undo a later one', async () => {
  let respond: (board: Leaderboard) => void = () => {}
  vi.mocked(leaderboard)
    .mockReturnValueOnce(new Promise((resolve) => (respond = resolve)))
    .mockResolvedValue(FOUND)
  const { address, page } = open(1)
  address.value.around = 2
  await settled()
  respond(EMPTY)
  await settled()
  expect(address.value.around).toBe(2)
  expect(page.notFound).toBe('')
  expect(page.board?.total).toBe(1)
})

it.each([
  ['empty', async () => EMPTY],
  ['refused', async () => Promise.reject(new ApiError('refused', 'invalid cursor'))],
])('a page that is %s and was left does not change the later one', async (_, respond) => {
  let end: () => void = () => {}
  const left = new Promise<void>((resolve) => (end = resolve))
  vi.mocked(leaderboard)
    .mockImplementationOnce(() => left.then(respond))
    .mockResolvedValue(FOUND)
  const { address, page } = open(null, { page: 'left' })
  address.value = { ...address.value, page: 'later' }
  await settled()
  end()
  await settled()
  expect(address.value.page).toBe('later')
  expect([page.board?.total, page.failure]).toEqual([1, ''])
})

it.each<[string, Partial<ExploreAddress>]>([
  ['second', { second: 20 }],
  ['board', { board: 'finish' }],
  ['racer', { around: 2 }],
])('says of another %s nothing about a racer who is not on the board', async (_, change) => {
  vi.mocked(leaderboard).mockResolvedValue(EMPTY)
  const { address, page } = open(1)
  await settled()
  expect(address.value.around).toBeNull()
  expect(page.notFound).toContain('has no best at 1:00.')
  stateHash.value = 'B'
  await settled()
  expect(page.notFound).toContain('has no best at 1:00.')
  vi.mocked(leaderboard).mockResolvedValue(FOUND)
  address.value = { ...address.value, ...change }
  await settled()
  expect(page.notFound).toBe('')
})

it('keeps its rows and their address while the board cannot be loaded, and is loaded after the next poll', async () => {
  vi.mocked(leaderboard).mockResolvedValueOnce(EMPTY).mockRejectedValueOnce(AWAY)
  const { address, page } = open(null)
  await settled()
  address.value = withChange(address.value, { second: 200 })
  await settled()
  expect(page.failure).toBe('away')
  expect([page.shown.second, page.board?.total]).toEqual([60, 0])
  vi.mocked(leaderboard).mockResolvedValue(FOUND)
  service.now += 1
  await settled()
  expect(page.failure).toBe('')
  expect([page.shown.second, page.board?.total]).toEqual([200, 1])
})

it('is the page of the address, of the board of the address', async () => {
  vi.mocked(leaderboard).mockResolvedValue(FOUND)
  const { address } = open(null)
  await settled()
  expect(leaderboard).toHaveBeenLastCalledWith(1, { second: 60, limit: 12 })
  address.value = { ...FIRST_ADDRESS, board: 'finish', page: 'A' }
  await settled()
  expect(leaderboard).toHaveBeenLastCalledWith(1, { by: 'finish', cursor: 'A', limit: 12 })
})

it('is loaded once where the address is opened before the classes are known', async () => {
  vi.mocked(leaderboard).mockResolvedValue(FOUND)
  stateHash.value = undefined
  open(null)
  await settled()
  stateHash.value = 'A'
  await settled()
  expect(leaderboard).toHaveBeenCalledTimes(1)
  stateHash.value = 'B'
  await settled()
  expect(leaderboard).toHaveBeenCalledTimes(2)
})

it.each([
  ['finish', 2],
  ['second', 1],
] as const)(
  'a board of the kind %s is loaded %i times after another page and a new period',
  async (kind, times) => {
    vi.mocked(leaderboard).mockResolvedValue(FOUND)
    const { address } = open(null)
    address.value = { ...FIRST_ADDRESS, board: kind }
    await settled()
    vi.mocked(leaderboard).mockClear()
    address.value = { ...address.value, page: 'A' }
    await settled()
    period.value += 1
    await settled()
    expect(leaderboard).toHaveBeenCalledTimes(times)
  },
)

it.each([
  ['second', 'Racer 1 has no best at 1:00.'],
  ['race', 'Racer 1 has no best in this class.'],
  ['finish', 'Racer 1 has not finished a race in this class.'],
] as const)('says on the board of the kind %s: “%s”', async (kind, words) => {
  vi.mocked(leaderboard).mockResolvedValue(EMPTY)
  const { page } = open(1, { board: kind })
  await settled()
  expect(page.notFound.replace(/[\u2068\u2069]/g, '')).toBe(words)
})

it('is the page around the racer of the address, who is on the board', async () => {
  vi.mocked(leaderboard).mockResolvedValue(FOUND)
  const { address } = open(2, { board: 'race' })
  await settled()
  expect(vi.mocked(leaderboard).mock.calls).toEqual([
    [1, { racers: [2], limit: 1 }],
    [1, { around: 2, limit: 12 }],
  ])
  vi.mocked(leaderboard).mockClear()
  address.value = { ...address.value, page: 'A' }
  await settled()
  expect(vi.mocked(leaderboard).mock.calls).toEqual([[1, { cursor: 'A', limit: 12 }]])
})
