// @vitest-environment happy-dom
import { afterEach, beforeEach, expect, it, vi } from 'vitest'

import { ApiError } from '../api/request'
import { classes, isReady, type ClassSummary } from '../api/status'
import { setHidden } from '../test-helpers'
import {
  boardState,
  classOf,
  classTitle,
  isUnknownClass,
  knownClass,
  period,
  reachable,
  refreshService,
  service,
} from './service'
import { serviceTime } from './service-time'

vi.mock('../api/status', () => ({ classes: vi.fn(), isReady: vi.fn() }))

function classWith(stateHash: string, updatedAt: number | null) {
  return { classes: [{ classId: 1, stateHash, updatedAt } as ClassSummary], time: null }
}

function response(ids: number[], time: number | null = null) {
  return { classes: ids.map((classId) => ({ classId }) as ClassSummary), time }
}

beforeEach(() => {
  vi.useFakeTimers()
  vi.mocked(classes).mockReset().mockResolvedValue(response([]))
  vi.mocked(isReady).mockReset().mockResolvedValue(true)
})
afterEach(() => {
  vi.useRealTimers()
  setHidden(false)
})

it('a hidden page does not poll, also if it was hidden during a request', async () => {
  let respond = () => {}
  vi.mocked(classes).mockImplementationOnce(
    () => new Promise((resolve) => (respond = () => resolve(response([])))),
  )
  void refreshService()
  await vi.advanceTimersByTimeAsync(0)
  setHidden(true)
  respond()
  await vi.advanceTimersByTimeAsync(60_000)
  expect(classes).toHaveBeenCalledTimes(1)
  setHidden(false)
  await vi.advanceTimersByTimeAsync(6_500)
  expect(classes).toHaveBeenCalledTimes(4)
})

it('a page that is hidden after two reasons to poll came at once does not poll', async () => {
  void refreshService()
  await refreshService()
  setHidden(true)
  await vi.advanceTimersByTimeAsync(60_000)
  expect(classes).toHaveBeenCalledTimes(2)
})

it('polls at once when the network is back', async () => {
  await refreshService()
  dispatchEvent(new Event('online'))
  await vi.advanceTimersByTimeAsync(0)
  expect(classes).toHaveBeenCalledTimes(2)
})

it('does not begin a poll before the one under way has ended', async () => {
  let respond = () => {}
  vi.mocked(isReady).mockReturnValueOnce(new Promise((done) => (respond = () => done(false))))
  void refreshService()
  const last = refreshService()
  await vi.advanceTimersByTimeAsync(0)
  expect(classes).toHaveBeenCalledTimes(1)
  respond()
  await last
  expect(classes).toHaveBeenCalledTimes(2)
  // A slow poll that ended last would say what is no longer so.
  expect(service.state).toBe('ready')
})

it('a service that is not ready lags, and is reachable', async () => {
  vi.mocked(isReady).mockResolvedValueOnce(false)
  await refreshService()
  expect([service.state, reachable.value]).toEqual(['lagging', true])
  await refreshService()
  expect(service.state).toBe('ready')
})

it.each([
  ['away', 'away'],
  ['locked', 'locked'],
  ['unready', 'failing'],
  ['missing', 'failing'],
] as const)('a request for the classes that is %s makes the service %s', async (kind, state) => {
  vi.mocked(classes).mockRejectedValueOnce(new ApiError(kind, 'no'))
  await refreshService()
  expect(service.state).toBe(state)
})

it('a service that is lost after its classes came is away', async () => {
  vi.mocked(isReady).mockRejectedValueOnce(new ApiError('away', 'no'))
  await refreshService()
  expect(service.state).toBe('away')
})

it('a locked page polls again when a key is entered, not before', async () => {
  vi.mocked(classes).mockRejectedValueOnce(new ApiError('locked', 'no'))
  await refreshService()
  await vi.advanceTimersByTimeAsync(60_000)
  expect(classes).toHaveBeenCalledTimes(1)
  await refreshService()
  await vi.advanceTimersByTimeAsync(3_500)
  expect(classes).toHaveBeenCalledTimes(3)
})

it('the classes are not known before the state is', async () => {
  vi.mocked(classes).mockRejectedValueOnce(new ApiError('locked', 'no'))
  await refreshService()
  let respond = () => {}
  vi.mocked(classes).mockResolvedValue(response([9]))
  vi.mocked(isReady).mockReturnValueOnce(new Promise((done) => (respond = () => done(true))))
  const polled = refreshService()
  await vi.advanceTimersByTimeAsync(0)
  expect([service.state, classOf(9)]).toEqual(['locked', null])
  respond()
  await polled
  expect([service.state, classOf(9)?.classId]).toEqual(['ready', 9])
})

it('takes the time of the service where the clock of the device is wrong', async () => {
  const hourAhead = Math.floor(Date.now() / 1000) * 1000 + 3_600_000
  vi.mocked(classes).mockResolvedValueOnce(response([], hourAhead))
  await refreshService()
  expect(service.now).toBe(hourAhead)
  // The header has whole seconds: a time that agrees with it moves nothing.
  await vi.advanceTimersByTimeAsync(1500)
  vi.mocked(classes).mockResolvedValueOnce(response([], hourAhead + 1000))
  await refreshService()
  expect(service.now).toBe(hourAhead + 1500)
  // Without an answer it goes on.
  await vi.advanceTimersByTimeAsync(500)
  vi.mocked(classes).mockRejectedValueOnce(new ApiError('away', 'no'))
  await refreshService()
  expect([service.now, serviceTime()]).toEqual([hourAhead + 2000, hourAhead + 2000])
})

it('the boards of a class have a new state when it changes, and once more when no old board is left', async () => {
  /** Returns the number of states of the boards during 30 s. */
  async function statesOf(stateHash: string, updatedAt: number | null): Promise<number> {
    vi.mocked(classes).mockResolvedValue(classWith(stateHash, updatedAt))
    await refreshService()
    const states = new Set([boardState(1)])
    for (let i = 0; i < 10; i++) {
      await vi.advanceTimersByTimeAsync(3000)
      states.add(boardState(1))
    }
    return states.size
  }
  expect(boardState(1)).toBeUndefined()
  expect(await statesOf('A', null)).toBe(1)
  expect(await statesOf('B', serviceTime() - 3_600_000)).toBe(1)
  expect(await statesOf('C', serviceTime())).toBe(2)
})

it('no old board of a class is left when its last change is more than 16 s ago', async () => {
  vi.mocked(classes).mockResolvedValue(classWith('D', serviceTime()))
  await refreshService()
  const changed = boardState(1)
  await vi.advanceTimersByTimeAsync(16_000)
  await refreshService()
  expect(boardState(1)).toBe(changed)
  await vi.advanceTimersByTimeAsync(1)
  await refreshService()
  expect(boardState(1)).not.toBe(changed)
})

it('a period ends every 12 s while polls succeed', async () => {
  await refreshService()
  const before = period.value
  await vi.advanceTimersByTimeAsync(36_500)
  expect(period.value - before).toBe(3)
  vi.mocked(classes).mockRejectedValue(new ApiError('away', 'no'))
  await vi.advanceTimersByTimeAsync(36_500)
  expect(period.value - before).toBe(3)
})

it('a class is unknown once the classes are known, and has its number for a name until then', async () => {
  const named = { classId: 3, name: 'Hills' } as ClassSummary
  vi.mocked(classes).mockResolvedValue({ classes: [], time: null })
  await refreshService()
  expect([isUnknownClass(9), knownClass(9), classTitle(3)]).toEqual([false, 9, 'Class 3'])
  vi.mocked(classes).mockResolvedValue({ classes: [named], time: null })
  await refreshService()
  expect([isUnknownClass(9), knownClass(9), classTitle(3)]).toEqual([true, 3, 'Hills'])
  expect([isUnknownClass(3), knownClass(3)]).toEqual([false, 3])
})

it.each([
  ['open', true],
  ['closed', false],
])('rides are open where the page says “%s”: %s', async (rides, isOpen) => {
  document.documentElement.dataset.rides = rides
  vi.resetModules()
  expect((await import('./service')).ridesOpen).toBe(isOpen)
})
