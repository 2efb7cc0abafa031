import { expect, it, vi } from 'vitest'
import { effectScope, nextTick } from 'vue'

import { subscribe } from '../api/live'
import { service } from '../state/service.fake'
import { useLive } from './useLive'

vi.mock('../api/live', () => ({ subscribe: vi.fn() }))
vi.mock('../state/service', () => import('../state/service.fake'))

it('has no connection while the page is locked', async () => {
  const unsubscribe = vi.fn()
  vi.mocked(subscribe).mockReturnValue(unsubscribe)
  const closed = vi.fn()
  const scope = effectScope()
  scope.run(() => useLive(1, { closed }))
  expect(subscribe).toHaveBeenCalledTimes(1)
  service.state = 'locked'
  await nextTick()
  expect(unsubscribe).toHaveBeenCalledTimes(1)
  expect(closed).toHaveBeenCalledTimes(1)
  service.state = 'ready'
  await nextTick()
  expect(subscribe).toHaveBeenCalledTimes(2)
  scope.stop()
  expect(unsubscribe).toHaveBeenCalledTimes(2)
})

it('a page that is locked from the beginning has no connection to close', async () => {
  vi.mocked(subscribe).mockReset()
  const closed = vi.fn()
  service.state = 'locked'
  const scope = effectScope()
  scope.run(() => useLive(1, { closed }))
  expect(subscribe).not.toHaveBeenCalled()
  expect(closed).not.toHaveBeenCalled()
  scope.stop()
  service.state = 'ready'
})
