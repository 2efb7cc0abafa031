// @vitest-environment happy-dom
import { afterEach, beforeEach, expect, it, vi } from 'vitest'

import { leaderboard } from '../api/client'
import { setHidden } from '../test-helpers'

vi.mock('../api/client', () => ({ leaderboard: vi.fn() }))

type Names = typeof import('./names')
let names: Names
let ApiError: typeof import('../api/request').ApiError

/** The service knows Ada as racer 1, and racer 2 without a name. */
const respond = async (_: number, { racers = [] }: { racers?: number[] } = {}) =>
  ({
    standings: racers.map((racerId) => ({ racerId, name: racerId === 1 ? 'Ada' : null })),
  }) as never

beforeEach(async () => {
  vi.useFakeTimers()
  vi.resetModules()
  vi.mocked(leaderboard).mockReset()
  names = await import('./names')
  // Of the same module as the one that is tested.
  ;({ ApiError } = await import('../api/request'))
})
afterEach(() => {
  vi.useRealTimers()
})

it('names are requested once, in one request at a time', async () => {
  vi.mocked(leaderboard).mockImplementation(respond)
  for (let i = 0; i < 5; i++) names.requestNames(1, [1, 2])
  await vi.runAllTimersAsync()
  names.requestNames(1, [1, 2])
  await vi.runAllTimersAsync()
  expect([1, 2].map(names.nameOf)).toEqual(['Ada', 'Racer 2'])
  expect(leaderboard).toHaveBeenCalledOnce()
})

it('requests back off while the service is away, and then succeed', async () => {
  vi.mocked(leaderboard).mockRejectedValue(new ApiError('away', ''))
  // As at 20 times speed: a board every 50 ms, for a minute.
  for (let i = 0; i < 1200; i++) {
    names.requestNames(1, [1, 2, i])
    await vi.advanceTimersByTimeAsync(50)
  }
  // After 0, 2, 6, 14 and 30 s.
  expect(leaderboard).toHaveBeenCalledTimes(5)
  vi.mocked(leaderboard).mockImplementation(respond)
  await vi.advanceTimersByTimeAsync(60_000)
  expect(names.nameOf(1)).toBe('Ada')
})

it('racers beyond those that may wait for a request are requested when they are shown again', async () => {
  vi.mocked(leaderboard).mockImplementation(
    async (_, { racers = [] } = {}) =>
      ({ standings: racers.map((racerId) => ({ racerId, name: 'Ada' })) }) as never,
  )
  const racers = Array.from({ length: 2001 }, (_, i) => i + 1)
  names.requestNames(1, racers)
  await vi.runAllTimersAsync()
  expect(racers.filter((racerId) => names.nameOf(racerId) !== 'Ada')).toEqual([2001])
  const sizes = vi.mocked(leaderboard).mock.calls.map(([, { racers }]) => racers?.length)
  expect(sizes).toEqual(Array(10).fill(200))
  names.requestNames(1, racers)
  await vi.runAllTimersAsync()
  expect(names.nameOf(2001)).toBe('Ada')
})

it('racers are looked up in the class in which they ride', async () => {
  vi.mocked(leaderboard).mockImplementation(respond)
  names.requestNames(1, [1])
  names.requestNames(2, [2])
  names.requestNames(1, [3])
  await vi.runAllTimersAsync()
  const requested = vi
    .mocked(leaderboard)
    .mock.calls.map(([classId, query]) => [classId, query.racers])
  expect(requested).toEqual([
    [1, [1]],
    [2, [2]],
    [1, [3]],
  ])
})

it('a request that is refused does not hold up the others', async () => {
  vi.mocked(leaderboard).mockImplementation(async (classId, query) => {
    if (classId === 9) throw new ApiError('missing', 'no such class')
    return respond(classId, query)
  })
  names.requestNames(9, [3])
  names.requestNames(1, [1])
  await vi.advanceTimersByTimeAsync(10_000)
  expect(names.nameOf(1)).toBe('Ada')
  expect(leaderboard).toHaveBeenCalledTimes(2)
})

it('a request that failed is repeated, also if the racers are not shown again', async () => {
  vi.mocked(leaderboard).mockImplementation(respond).mockRejectedValueOnce(new ApiError('away', ''))
  names.requestNames(1, [1])
  await vi.runAllTimersAsync()
  expect(names.nameOf(1)).toBe('Ada')
})

it('a name that comes during a request that does not have it stays', async () => {
  vi.mocked(leaderboard).mockImplementation(respond)
  names.requestNames(1, [2])
  names.applyNames([{ racerId: 2, name: 'Bo' }])
  await vi.runAllTimersAsync()
  expect(names.nameOf(2)).toBe('Bo')
})

it('the delay is short again after a success', async () => {
  vi.mocked(leaderboard).mockRejectedValue(new ApiError('away', ''))
  names.requestNames(1, [1])
  await vi.advanceTimersByTimeAsync(20_000)
  vi.mocked(leaderboard).mockImplementation(respond)
  await vi.runAllTimersAsync()
  vi.mocked(leaderboard).mockReset().mockRejectedValue(new ApiError('away', ''))
  names.requestNames(1, [2])
  await vi.advanceTimersByTimeAsync(3000)
  // After 0 and 2 s.
  expect(leaderboard).toHaveBeenCalledTimes(2)
})

it('a hidden page does not repeat a request before it is shown', async () => {
  vi.mocked(leaderboard).mockRejectedValueOnce(new ApiError('away', ''))
  names.requestNames(1, [1])
  setHidden(true)
  await vi.advanceTimersByTimeAsync(60_000)
  expect(leaderboard).toHaveBeenCalledTimes(1)
  vi.mocked(leaderboard).mockImplementation(respond)
  setHidden(false)
  await vi.advanceTimersByTimeAsync(0)
  expect(names.nameOf(1)).toBe('Ada')
})

it.each(['unready', 'locked'] as const)(
  'a request that is %s does not hold up the others',
  async (kind) => {
    vi.mocked(leaderboard).mockImplementation(async (classId, query) => {
      if (classId === 1) throw new ApiError(kind, 'blocked')
      return respond(classId, query)
    })
    names.requestNames(1, [7])
    names.requestNames(2, [1])
    await vi.advanceTimersByTimeAsync(5000)
    expect(names.nameOf(1)).toBe('Ada')
  },
)
