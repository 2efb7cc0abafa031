// @vitest-environment happy-dom
import { afterEach, beforeEach, expect, it, vi } from 'vitest'

import { subscribe } from './live'

let unsubscribe: () => void

beforeEach(() => {
  vi.useFakeTimers()
})
afterEach(() => {
  unsubscribe()
  vi.useRealTimers()
  vi.unstubAllGlobals()
})

it('connects less and less often while the service is away, and at once when the network is back', async () => {
  const fetch = vi.fn(async () => new Response(null, { status: 503 }))
  vi.stubGlobal('fetch', fetch)
  unsubscribe = subscribe(1, {})
  await vi.advanceTimersByTimeAsync(120_000)
  // After 0, 1, 3, 7, 15, 31, 61 and 91 s.
  expect(fetch).toHaveBeenCalledTimes(8)
  dispatchEvent(new Event('online'))
  await vi.advanceTimersByTimeAsync(0)
  expect(fetch).toHaveBeenCalledTimes(9)
})

it('connects again soon after a connection that was open', async () => {
  const fetch = vi.fn(async () => new Response('', { status: 503 }))
  vi.stubGlobal('fetch', fetch)
  unsubscribe = subscribe(1, {})
  await vi.advanceTimersByTimeAsync(60_000)
  fetch.mockClear()
  fetch.mockImplementation(async () => new Response(': hello\n\n'))
  await vi.advanceTimersByTimeAsync(40_000)
  expect(fetch.mock.calls.length).toBeGreaterThan(5)
})

it('reports an error of a subscriber, and keeps the connection', async () => {
  const reported = vi.fn()
  vi.stubGlobal('reportError', reported)
  const event = 'event: bests\ndata: {}\n\n'
  const bytes = new TextEncoder().encode(event + event)
  const body = new ReadableStream({ start: (stream) => stream.enqueue(bytes) })
  const fetch = vi.fn(async () => new Response(body))
  vi.stubGlobal('fetch', fetch)
  const fault = new Error('fault')
  const bests = vi.fn().mockImplementationOnce(() => {
    throw fault
  })
  const closed = vi.fn()
  unsubscribe = subscribe(1, { bests, closed })
  await vi.advanceTimersByTimeAsync(10_000)
  expect(reported).toHaveBeenCalledExactlyOnceWith(fault)
  expect(bests).toHaveBeenCalledTimes(2)
  expect(closed).not.toHaveBeenCalled()
  expect(fetch).toHaveBeenCalledTimes(1)
})
