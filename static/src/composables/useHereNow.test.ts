// @vitest-environment happy-dom
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { effectScope, ref } from 'vue'

import { racePage } from '../api/client'
import { useHereNow } from './useHereNow'

vi.mock('../api/client', () => ({
  racePage: vi.fn(async () => ({ races: [] })),
  raceBoard: vi.fn(),
}))

beforeEach(() => {
  vi.useFakeTimers()
})
afterEach(() => {
  vi.useRealTimers()
  vi.unstubAllGlobals()
})

it('polls while every attempt to connect fails', async () => {
  vi.stubGlobal('fetch', async () => new Response(null, { status: 503 }))
  const scope = effectScope()
  const { state } = scope.run(() => useHereNow(1, ref(null)))!
  await vi.advanceTimersByTimeAsync(10_000)
  expect(vi.mocked(racePage).mock.calls.length).toBeGreaterThanOrEqual(3)
  expect(state.value).toBe('loaded')
  scope.stop()
})
