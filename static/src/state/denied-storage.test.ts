// @vitest-environment happy-dom
import { afterEach, expect, it, vi } from 'vitest'

import type { OwnRide } from '../race/own-ride'

afterEach(() => vi.restoreAllMocks())

it('works where the browser denies storage', async () => {
  for (const name of ['localStorage', 'sessionStorage'] as const) {
    const get = () => {
      throw new DOMException('denied', 'SecurityError')
    }
    Object.defineProperty(globalThis, name, { configurable: true, get })
    if (window !== globalThis) Object.defineProperty(window, name, { configurable: true, get })
  }
  vi.spyOn(console, 'error').mockReturnValue() // vueuse reports what it cannot read
  const { queryKey } = await import('../api/key')
  const { rider } = await import('./rider')
  const { isUnstored, keepRide, ownRides } = await import('./own-rides')
  const { lastClass } = await import('./last-class')
  expect(queryKey.value).toBeNull()
  expect(rider.value.guest).toBe(true)
  expect(ownRides.value).toEqual([])
  expect(lastClass.value).toBe(1)
  keepRide({ raceId: 1 } as OwnRide)
  expect(isUnstored(1)).toBe(true)
  queryKey.value = 'key'
  expect(queryKey.value).toBe('key')
})
