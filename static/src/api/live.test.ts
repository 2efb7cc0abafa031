// @vitest-environment happy-dom
import { afterEach, beforeEach, expect, it, vi } from 'vitest'

import { setHidden } from '../test-helpers'
import { subscribe } from './live'

let unsubscribe: () => void

beforeEach(() => {
  vi.useFakeTimers()
})
afterEach(() => {
  unsubscribe()
  setHidden(false)
  vi.useRealTimers()
  vi.restoreAllMocks()
  vi.unstubAllGlobals()
})

/** Stands in for a service whose connections stay open and silent. Returns the signals of the connections. */
function silentService(): AbortSignal[] {
  const signals: AbortSignal[] = []
  vi.stubGlobal('fetch', async (_: string, { signal }: { signal: AbortSignal }) => {
    signals.push(signal)
    const start = (stream: ReadableStreamDefaultController) =>
      signal.addEventListener('abort', () => stream.error(signal.reason))
    return new Response(new ReadableStream({ start }))
  })
  return signals
}

it('a hidden page has no connection', async () => {
  const signals = silentService()
  setHidden(true)
  unsubscribe = subscribe(1, {})
  await vi.advanceTimersByTimeAsync(60_000)
  expect(signals).toHaveLength(0)
  setHidden(false)
  await vi.advanceTimersByTimeAsync(0)
  expect(signals).toHaveLength(1)
  setHidden(true)
  expect(signals[0]?.aborted).toBe(true)
  await vi.advanceTimersByTimeAsync(60_000)
  expect(signals).toHaveLength(1)
  setHidden(false)
  await vi.advanceTimersByTimeAsync(0)
  expect(signals).toHaveLength(2)
})

it('cuts a connection on which nothing comes for 45 s', async () => {
  const signals = silentService()
  unsubscribe = subscribe(1, {})
  await vi.advanceTimersByTimeAsync(44_900)
  expect(signals.map(({ aborted }) => aborted)).toEqual([false])
  await vi.advanceTimersByTimeAsync(1_200)
  expect(signals.map(({ aborted }) => aborted)).toEqual([true, false])
})

it('keeps a connection on which a comment comes every 15 s', async () => {
  let push = () => {}
  const signals: AbortSignal[] = []
  vi.stubGlobal('fetch', async (_: string, { signal }: { signal: AbortSignal }) => {
    signals.push(signal)
    const start = (stream: ReadableStreamDefaultController) =>
      (push = () => stream.enqueue(new TextEncoder().encode(':\n\n')))
    return new Response(new ReadableStream({ start }))
  })
  unsubscribe = subscribe(1, {})
  for (let i = 0; i < 10; i++) {
    await vi.advanceTimersByTimeAsync(15_000)
    push()
  }
  expect(signals.map(({ aborted }) => aborted)).toEqual([false])
})

it('the end of the subscription ends its connection', async () => {
  const signals = silentService()
  unsubscribe = subscribe(1, {})
  await vi.advanceTimersByTimeAsync(0)
  unsubscribe()
  expect(signals[0]?.aborted).toBe(true)
  await vi.advanceTimersByTimeAsync(60_000)
  expect(signals).toHaveLength(1)
})

it('connects less and less often while connections end before anything is pushed', async () => {
  const fetch = vi.fn(async () => new Response('retry: 1000\n\n'))
  vi.stubGlobal('fetch', fetch)
  const pushing = vi.fn()
  unsubscribe = subscribe(1, { pushing })
  await vi.advanceTimersByTimeAsync(20_000)
  // After 0, 1, 3, 7 and 15 s.
  expect(fetch).toHaveBeenCalledTimes(5)
  expect(pushing).not.toHaveBeenCalled()
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
  await vi.advanceTimersByTimeAsync(3000)
  // After 1 and 3 s: the delays are short again.
  expect(fetch).toHaveBeenCalledTimes(11)
})

/** Returns the listeners that are added to a target from now on, and not removed. None is called. */
function listenersOf(target: EventTarget): Set<unknown> {
  const listeners = new Set<unknown>()
  const add = (_: string, listener: unknown) => void listeners.add(listener)
  const remove = (_: string, listener: unknown) => void listeners.delete(listener)
  vi.spyOn(target, 'addEventListener').mockImplementation(add)
  vi.spyOn(target, 'removeEventListener').mockImplementation(remove)
  return listeners
}

it('listeners do not add up while the service is away', async () => {
  const fetch = vi.fn(async () => new Response(null, { status: 503 }))
  vi.stubGlobal('fetch', fetch)
  const [ofWindow, ofDocument] = [listenersOf(globalThis), listenersOf(document)]
  unsubscribe = subscribe(1, {})
  await vi.advanceTimersByTimeAsync(20_000)
  expect(fetch).toHaveBeenCalledTimes(5)
  // The one that waits for the network.
  expect([ofWindow.size, ofDocument.size]).toEqual([1, 0])
})

it('says that a connection pushes once, at its first event', async () => {
  const event = ': hello\n\nevent: bests\ndata: {}\n\n'
  const bytes = new TextEncoder().encode(event + event)
  const body = new ReadableStream({ start: (stream) => stream.enqueue(bytes) })
  vi.stubGlobal('fetch', async () => new Response(body))
  const pushing = vi.fn()
  const bests = vi.fn()
  unsubscribe = subscribe(1, { pushing, bests })
  await vi.advanceTimersByTimeAsync(0)
  expect(bests).toHaveBeenCalledTimes(2)
  expect(pushing).toHaveBeenCalledTimes(1)
})

it('connects again soon after a connection on which something was pushed', async () => {
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
