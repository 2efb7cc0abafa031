// @vitest-environment happy-dom
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { effectScope, ref } from 'vue'

import { raceBoard, racePage, type RaceBoard, type RacePage } from '../api/client'
import { useHereNow } from './useHereNow'

vi.mock('../api/client', () => ({
  racePage: vi.fn(async () => ({ races: [] })),
  raceBoard: vi.fn(),
}))

interface Settle {
  resolve(page: RacePage): void
  reject(error: Error): void
}

function raceAt(lastSecond: number): RaceBoard {
  return { raceId: 1, startedAt: Date.now(), racers: 1, lastSecond, standings: [] } as never
}

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

/** A connection on which the service pushes this event. */
function pushing(data: object): Response {
  const text = `event: standings\ndata: ${JSON.stringify(data)}\n\n`
  const bytes = new TextEncoder().encode(text)
  return new Response(new ReadableStream({ start: (stream) => stream.enqueue(bytes) }))
}

it.each([
  ['fails', (settle: Settle) => settle.reject(new Error('timeout'))],
  ['responds', (settle: Settle) => settle.resolve({ races: [raceAt(8)] } as unknown as RacePage)],
])('a poll that %s after the service began to push changes nothing', async (_, settle) => {
  const poll = {} as Settle
  vi.mocked(racePage).mockReturnValueOnce(
    new Promise((resolve, reject) => Object.assign(poll, { resolve, reject })),
  )
  vi.mocked(raceBoard).mockResolvedValue(raceAt(8))
  const responses = [new Response(null, { status: 503 }), new Response(null, { status: 503 })]
  vi.stubGlobal('fetch', async () => responses.shift() ?? pushing(raceAt(9)))
  const scope = effectScope()
  // The third attempt to connect, after 3 s, succeeds. The first poll is under way by then.
  const { state, race } = scope.run(() => useHereNow(1, ref(null)))!
  await vi.advanceTimersByTimeAsync(4000)
  expect(race.value?.lastSecond).toBe(9)
  settle(poll)
  await vi.advanceTimersByTimeAsync(1000)
  expect(state.value).toBe('loaded')
  expect(race.value?.lastSecond).toBe(9)
  scope.stop()
})
