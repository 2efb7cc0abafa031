import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { effectScope, reactive } from 'vue'

import { useExploreAddress } from './useExploreAddress'

const route = reactive({ name: 'explore', query: {} as Record<string, unknown> })
const replace = vi.fn(async ({ query }: { query: Record<string, unknown> }) => {
  route.query = query
})
vi.mock('vue-router', () => ({ useRoute: () => route, useRouter: () => ({ replace }) }))

beforeEach(() => {
  vi.useFakeTimers()
})
afterEach(() => {
  vi.useRealTimers()
})

it('the address is written while the seconds play, but not at each of them', async () => {
  const scope = effectScope()
  const { address, adjust } = scope.run(useExploreAddress)!
  for (let second = 61; second <= 100; second++) {
    adjust({ second })
    await vi.advanceTimersByTimeAsync(250)
  }
  expect(replace.mock.calls.length).toBeGreaterThan(10)
  expect(replace.mock.calls.length).toBeLessThan(25)
  await vi.runAllTimersAsync()
  expect(address.value.second).toBe(100)
  expect(Number(route.query.second)).toBe(100)
  scope.stop()
})
