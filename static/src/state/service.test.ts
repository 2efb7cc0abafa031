// @vitest-environment happy-dom
import { afterEach, beforeEach, expect, it, vi } from 'vitest'

import { classes, unreadiness } from '../api/status'
import { refreshService } from './service'

vi.mock('../api/status', () => ({ classes: vi.fn(), unreadiness: vi.fn() }))

function setHidden(hidden: boolean): void {
  Object.defineProperty(document, 'hidden', { value: hidden, configurable: true })
  document.dispatchEvent(new Event('visibilitychange'))
}

beforeEach(() => {
  vi.useFakeTimers()
  vi.mocked(classes).mockReset().mockResolvedValue([])
  vi.mocked(unreadiness).mockReset().mockResolvedValue(null)
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
