// @vitest-environment happy-dom
import { afterEach, beforeEach, expect, it, vi } from 'vitest'

import { ApiError } from '../api/request'
import { classes, isReady } from '../api/status'
import { classOf, refreshService, service } from './service'

vi.mock('../api/status', () => ({ classes: vi.fn(), isReady: vi.fn() }))

function setHidden(hidden: boolean): void {
  Object.defineProperty(document, 'hidden', { value: hidden, configurable: true })
  document.dispatchEvent(new Event('visibilitychange'))
}

beforeEach(() => {
  vi.useFakeTimers()
  vi.mocked(classes).mockReset().mockResolvedValue([])
  vi.mocked(isReady).mockReset().mockResolvedValue(true)
})
afterEach(() => {
  vi.useRealTimers()
  setHidden(false)
})

it('a hidden page does not poll, also if it was hidden during a request', async () => {
  let respond = () => {}
  vi.mocked(classes).mockImplementationOnce(
    () => new Promise((resolve) => (respond = () => resolve([]))),
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
  vi.mocked(classes).mockResolvedValue([{ classId: 9 }] as never)
  vi.mocked(isReady).mockReturnValueOnce(new Promise((done) => (respond = () => done(true))))
  const polled = refreshService()
  await vi.advanceTimersByTimeAsync(0)
  expect([service.state, classOf(9)]).toEqual(['locked', null])
  respond()
  await polled
  expect([service.state, classOf(9)?.classId]).toEqual(['ready', 9])
})
