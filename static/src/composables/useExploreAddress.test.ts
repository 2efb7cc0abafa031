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

it('a second that no race has becomes the one that is shown', async () => {
  route.query = { second: '9999', racers: '5' }
  const scope = effectScope()
  const { address } = scope.run(useExploreAddress)!
  expect(address.value.second).toBe(300)
  await vi.runAllTimersAsync()
  expect(route.query).toEqual({ second: '300', racers: '5' })
  route.query = { second: '0', racers: '5' }
  await vi.runAllTimersAsync()
  expect(route.query).toEqual({ second: '1', racers: '5' })
  scope.stop()
})
