// @vitest-environment happy-dom
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { effectScope, ref, type EffectScope } from 'vue'

import { raceBoard, racePage, type RaceBoard, type RacePage } from '../api/client'
import { reachable, service } from '../state/service.fake'
import { setHidden } from '../test-helpers'
import { useHereNow } from './useHereNow'

vi.mock('../api/client', () => ({ racePage: vi.fn(), raceBoard: vi.fn() }))
vi.mock('../state/service', () => import('../state/service.fake'))

interface Settle {
  resolve(page: RacePage): void
  reject(error: Error): void
}

function raceAt(lastSecond: number): RaceBoard {
  return { raceId: 1, startedAt: Date.now(), racers: 1, lastSecond, standings: [] } as never
}

let scope: EffectScope
const open = () => scope.run(() => useHereNow(1, ref(7)))!

beforeEach(() => {
  vi.useFakeTimers()
  scope = effectScope()
  reachable.value = true
  vi.mocked(racePage)
    .mockReset()
    .mockResolvedValue({ races: [] } as never)
})
afterEach(() => {
  scope.stop()
  setHidden(false)
  vi.useRealTimers()
  vi.unstubAllGlobals()
})

/** A connection on which this text is pushed, and which ends after it or stays open. */
function pushing(text: string, isEnded = false): Response {
  const start = (stream: ReadableStreamDefaultController) => {
    stream.enqueue(new TextEncoder().encode(text))
    if (isEnded) stream.close()
  }
  return new Response(new ReadableStream({ start }))
}

/** A connection that stays open until it is aborted. */
function openStream(signal: AbortSignal): Response {
  const start = (stream: ReadableStreamDefaultController) =>
    signal.addEventListener('abort', () => stream.error(signal.reason))
  return new Response(new ReadableStream({ start }))
}

const standings = (data: object) => `event: standings\ndata: ${JSON.stringify(data)}\n\n`

it.each<[string, () => Response]>([
  ['every attempt to connect fails', () => new Response(null, { status: 503 })],
  ['nothing is pushed', () => pushing('retry: 1000\n\n')],
  ['every connection ends at once', () => pushing('retry: 1000\n\n', true)],
])('polls while %s', async (_, connect) => {
  vi.stubGlobal('fetch', async () => connect())
  const { state } = open()
  await vi.advanceTimersByTimeAsync(10_000)
  // At 0, 3, 6 and 9 s.
  expect(racePage).toHaveBeenCalledTimes(4)
  expect(state.value).toBe('loaded')
})

it.each([
  ['an event', standings(raceAt(9))],
  ['a comment', ':\n\n'],
])('does not poll after %s', async (_, text) => {
  vi.stubGlobal('fetch', async () => pushing(text))
  const { state } = open()
  await vi.advanceTimersByTimeAsync(100)
  expect(state.value).toBe('loaded')
  vi.mocked(racePage).mockClear()
  await vi.advanceTimersByTimeAsync(10_000)
  expect(racePage).not.toHaveBeenCalled()
})

it('does not poll while the page is hidden, or while the service is not reachable', async () => {
  vi.stubGlobal('fetch', async () => new Response(null, { status: 503 }))
  setHidden(true)
  const { state } = open()
  await vi.advanceTimersByTimeAsync(10_000)
  setHidden(false)
  reachable.value = false
  await vi.advanceTimersByTimeAsync(10_000)
  expect(racePage).not.toHaveBeenCalled()
  expect(state.value).toBe('failed')
  reachable.value = true
  await vi.advanceTimersByTimeAsync(3000)
  expect(racePage).toHaveBeenCalledTimes(1)
  expect(state.value).toBe('loaded')
})

it('is old once the service is away, although its connection is not lost yet', async () => {
  vi.stubGlobal('fetch', async (_: unknown, { signal }: RequestInit) => openStream(signal!))
  const { state } = open()
  await vi.advanceTimersByTimeAsync(100)
  expect(state.value).toBe('loaded')
  service.state = 'away'
  expect(state.value).toBe('failed')
  service.state = 'ready'
  expect(state.value).toBe('loaded')
})

it('reports a poll that failed until the next one succeeds', async () => {
  vi.stubGlobal('fetch', async () => new Response(null, { status: 503 }))
  vi.mocked(racePage).mockRejectedValueOnce(new Error('timeout'))
  const { state } = open()
  await vi.advanceTimersByTimeAsync(100)
  expect(state.value).toBe('failed')
  await vi.advanceTimersByTimeAsync(3000)
  expect(state.value).toBe('loaded')
})

it('shows the race that began after the one before it was over, which had more racers', async () => {
  const races = [{ ...raceAt(298), racers: 3 }]
  vi.mocked(racePage).mockImplementation(async () => ({ races: [...races] }) as never)
  vi.mocked(raceBoard)
    .mockReset()
    .mockImplementation(async (_, id) => races.find(({ raceId }) => raceId === id)!)
  vi.stubGlobal('fetch', async () => new Response(null, { status: 503 }))
  const { race } = open()
  await vi.advanceTimersByTimeAsync(100)
  expect(race.value?.raceId).toBe(1)
  races[0] = { ...raceAt(300), racers: 3, finished: true }
  races.unshift({ ...raceAt(1), raceId: 2, racers: 2 })
  await vi.advanceTimersByTimeAsync(3000)
  expect(race.value?.raceId).toBe(2)
  // It is shown also where the list does not have the earlier one any more.
  races[1] = { ...raceAt(298), racers: 3, finished: false }
  await vi.advanceTimersByTimeAsync(3000)
  expect(race.value?.raceId).toBe(1)
  races.pop()
  await vi.advanceTimersByTimeAsync(3000)
  expect(race.value?.raceId).toBe(2)
})

it('does not show what an earlier connection pushed once another one pushes', async () => {
  const responses = [
    pushing(standings({ ...raceAt(200), racers: 9 }), true),
    pushing(standings({ ...raceAt(1), raceId: 2, racers: 2 })),
  ]
  vi.stubGlobal('fetch', async () => responses.shift())
  const { race } = open()
  await vi.advanceTimersByTimeAsync(100)
  expect(race.value?.raceId).toBe(1)
  await vi.advanceTimersByTimeAsync(2000)
  expect(race.value?.raceId).toBe(2)
})

it.each([
  ['fails', (settle: Settle) => settle.reject(new Error('timeout'))],
  ['responds', (settle: Settle) => settle.resolve({ races: [raceAt(8)] } as unknown as RacePage)],
])('a poll that %s after the service began to push changes nothing', async (_, settle) => {
  const poll = {} as Settle
  vi.mocked(racePage)
    .mockRejectedValueOnce(new Error('timeout'))
    .mockReturnValueOnce(new Promise((resolve, reject) => Object.assign(poll, { resolve, reject })))
  vi.mocked(raceBoard).mockReset().mockResolvedValue(raceAt(8))
  const responses = [1, 2, 3].map(() => new Response(null, { status: 503 }))
  vi.stubGlobal('fetch', async () => responses.shift() ?? pushing(standings(raceAt(9))))
  // The fourth attempt to connect, after 7 s, succeeds. The second poll is under way by then.
  const { state, race } = open()
  await vi.advanceTimersByTimeAsync(6000)
  expect(state.value).toBe('failed')
  await vi.advanceTimersByTimeAsync(2000)
  expect(race.value?.lastSecond).toBe(9)
  settle(poll)
  await vi.advanceTimersByTimeAsync(1000)
  expect(state.value).toBe('loaded')
  expect(race.value?.lastSecond).toBe(9)
  expect(raceBoard).not.toHaveBeenCalled()
})

it('a board that comes after the service began to push does not replace what is pushed', async () => {
  let respond: (board: RaceBoard) => void = () => {}
  vi.mocked(racePage).mockResolvedValue({ races: [raceAt(8)] } as unknown as RacePage)
  vi.mocked(raceBoard)
    .mockReset()
    .mockReturnValueOnce(new Promise((resolve) => (respond = resolve)))
  const responses = [new Response(null, { status: 503 })]
  vi.stubGlobal('fetch', async () => responses.shift() ?? pushing(standings(raceAt(9))))
  const { race } = open()
  await vi.advanceTimersByTimeAsync(2000)
  respond(raceAt(8))
  await vi.advanceTimersByTimeAsync(1000)
  expect(race.value?.lastSecond).toBe(9)
})

it.each<[string, (signal: AbortSignal) => Response]>([
  ['the service is away', () => new Response(null, { status: 503 })],
  ['the connection is open', openStream],
])('does not poll any more after it was left while %s', async (_, connect) => {
  vi.stubGlobal('fetch', async (_: string, { signal }: { signal: AbortSignal }) => connect(signal))
  open()
  await vi.advanceTimersByTimeAsync(100)
  scope.stop()
  await vi.advanceTimersByTimeAsync(10_000)
  expect(racePage).toHaveBeenCalledTimes(1)
})

it('loads the race of others, although the rider rides alone in a newer one', async () => {
  vi.stubGlobal('fetch', async () => new Response(null, { status: 503 }))
  // The list does not say who rides.
  const listed = { startedAt: Date.now(), racers: 1, lastSecond: 9, finished: false }
  const races = [2, 1].map((raceId) => ({ ...listed, raceId }))
  vi.mocked(racePage).mockResolvedValue({ races, next: null, previous: null })
  vi.mocked(raceBoard).mockImplementation(async (_, raceId) => {
    const standings = [{ racerId: raceId === 2 ? 7 : 8 }]
    return { ...listed, raceId, standings } as RaceBoard
  })
  const { race } = open()
  // The first poll loads the rider's own race. From then on its riders are known.
  await vi.advanceTimersByTimeAsync(4000)
  expect(race.value?.raceId).toBe(1)
})

it('polls again after a connection that has pushed, and goes on from what it pushed', async () => {
  const connect = vi.fn(async () => new Response(null, { status: 503 }))
  connect.mockResolvedValueOnce(pushing(standings(raceAt(9)), true))
  vi.stubGlobal('fetch', connect)
  const race = { ...raceAt(60), standings: undefined }
  vi.mocked(racePage).mockResolvedValue({
    races: [{ ...race, raceId: 2, racers: 0 }, race],
  } as never)
  vi.mocked(raceBoard).mockReset().mockRejectedValue(new Error('away'))
  const { race: shown } = open()
  await vi.advanceTimersByTimeAsync(10_000)
  expect(racePage).toHaveBeenCalled()
  expect(shown.value).toMatchObject({ raceId: 1, lastSecond: 60 })
})

it('of races with as many racers it shows the newest, also where an older one is pushed later', async () => {
  const older = { ...raceAt(200), racers: 2, startedAt: Date.now() - 200_000 }
  const newer = { ...raceAt(20), raceId: 2, racers: 2 }
  vi.stubGlobal('fetch', async () => pushing(standings(newer) + standings(older)))
  const { race } = open()
  await vi.advanceTimersByTimeAsync(100)
  expect(race.value?.raceId).toBe(2)
})
