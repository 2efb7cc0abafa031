// @vitest-environment happy-dom
import { afterEach, expect, it, vi } from 'vitest'

import {
  curve,
  history,
  leaderboard,
  racePage,
  racer,
  records,
  search,
  sendRide,
  type RideRecord,
} from './client'
import { queryKey } from './key'
import { ApiError, isRefused, mayPass, request } from './request'
import { classes } from './status'

afterEach(() => {
  queryKey.value = null
  vi.restoreAllMocks()
  vi.unstubAllGlobals()
})

/** The headers of the service's errors. */
const PROBLEM = { 'content-type': 'application/problem+json' }

/** A response that is cut after its first bytes. */
function cut(): Response {
  let isBegun = false
  const body = new ReadableStream({
    pull(stream) {
      if (isBegun) return stream.error(new TypeError('network error'))
      isBegun = true
      stream.enqueue(new TextEncoder().encode('{"standings":'))
    },
  })
  return new Response(body, { headers: { 'content-type': 'application/json' } })
}

it.each<[string, () => Promise<unknown>]>([
  ['a board', () => leaderboard(1, {})],
  ['races', () => racePage(1)],
  ['the classes', () => classes()],
  ['records', () => records(1)],
  ['a history', () => history(1, vi.fn())],
  ['a sent ride', () => sendRide([])],
])('%s whose response is cut after its head is like no response', async (_, load) => {
  vi.stubGlobal('fetch', async () => cut())
  await expect(load()).rejects.toMatchObject({ kind: 'away' })
})

it('a service that requires a key says so in the words of the page', async () => {
  const detail = 'Authorization must be Bearer and a query key'
  vi.stubGlobal('fetch', async () => Response.json({ detail }, { status: 401, headers: PROBLEM }))
  const error = { kind: 'locked', message: 'The service requires a key.' }
  await expect(classes()).rejects.toMatchObject(error)
})

it('a complete response keeps its status and its headers', async () => {
  const link = '</classes/1/races?cursor=A>; rel="next"'
  vi.stubGlobal('fetch', async () => Response.json([], { headers: { link } }))
  expect(await racePage(1)).toEqual({ races: [], next: 'A', previous: null })
})

it('the curve of a racer who never rode in the class is empty, and not requested', async () => {
  const fetch = vi.fn(async () => Response.json({ standings: [] }))
  vi.stubGlobal('fetch', fetch)
  expect(await curve(1, 7)).toEqual({ racerId: 7, name: null, seconds: [] })
  // That of the board.
  expect(fetch).toHaveBeenCalledTimes(1)
})

it('the curve of a racer of the class is requested', async () => {
  const responses = [{ standings: [{ racerId: 7 }] }, { racerId: 7, name: 'Ada', seconds: [] }]
  vi.stubGlobal('fetch', async () => Response.json(responses.shift()))
  expect(await curve(1, 7)).toMatchObject({ name: 'Ada' })
})

it('a racer whom nobody knows is null, and any other error stays one', async () => {
  vi.stubGlobal('fetch', async () =>
    Response.json({ detail: 'no racer 7' }, { status: 404, headers: PROBLEM }),
  )
  expect(await racer(7)).toBeNull()
  vi.stubGlobal('fetch', async () => Response.json({ detail: 'starting' }, { status: 503 }))
  await expect(racer(7)).rejects.toMatchObject({ kind: 'unready', message: 'starting' })
  vi.stubGlobal('fetch', async () => new Response('<html>', { status: 502 }))
  const message = 'The service responded with status 502.'
  await expect(racer(7)).rejects.toMatchObject({ kind: 'unready', message })
})

it('only a request that is at fault is refused', async () => {
  const errors = []
  for (const status of [400, 404, 503]) {
    vi.stubGlobal('fetch', async () => new Response(null, { status, headers: PROBLEM }))
    errors.push(await classes().catch((error: unknown) => error))
  }
  expect([...errors, new TypeError('no')].map(isRefused)).toEqual([true, false, false, false])
})

/** A service that does not respond. */
function hang(_: unknown, { signal }: { signal: AbortSignal }): Promise<never> {
  return new Promise((_, reject) => signal.addEventListener('abort', reject))
}

it.each([
  ['of names', (signal: AbortSignal) => search('Ada', signal)],
  ['of a number', (signal: AbortSignal) => racer(7, signal)],
])('a search %s ends when it is aborted', async (_, find) => {
  vi.stubGlobal('fetch', hang)
  const sender = new AbortController()
  const found = find(sender.signal)
  sender.abort()
  await expect(found).rejects.toMatchObject({ kind: 'away' })
})

it('a request ends when its sender aborts it', async () => {
  vi.stubGlobal('fetch', hang)
  const sender = new AbortController()
  const response = request(new Request('http://localhost/racers', { signal: sender.signal }))
  sender.abort()
  await expect(response).rejects.toMatchObject({ kind: 'away' })
})

it.each<[string, RequestInfo]>([
  ['an address', 'classes'],
  ['a Request', new Request('http://localhost/classes')],
])('a request by %s ends after 10 s', async (_, input) => {
  vi.stubGlobal('fetch', hang)
  const late = new AbortController()
  const timeout = vi.spyOn(AbortSignal, 'timeout').mockReturnValue(late.signal)
  const response = request(input)
  expect(timeout).toHaveBeenCalledExactlyOnceWith(10_000)
  late.abort()
  await expect(response).rejects.toMatchObject({ kind: 'away' })
})

const headers = { accept: 'text/plain' }
it.each<[string, RequestInfo, RequestInit?]>([
  ['beside the address', 'rides', { headers }],
  ['of a Request', new Request('http://localhost/rides', { headers })],
])('the key is sent with the headers %s, if there is one', async (_, input, init) => {
  const sent: Headers[] = []
  vi.stubGlobal('fetch', async (_: unknown, { headers }: { headers: Headers }) => {
    sent.push(headers)
    return Response.json([])
  })
  await request(input, init)
  queryKey.value = 'secret'
  await request(input, init)
  expect(sent.map((headers) => headers.get('authorization'))).toEqual([null, 'Bearer secret'])
  expect(sent.map((headers) => headers.get('accept'))).toEqual(['text/plain', 'text/plain'])
})

it.each([
  [401, 'locked'],
  [404, 'missing'],
  [400, 'refused'],
  [413, 'refused'],
  [408, 'unready'],
  [429, 'unready'],
  [500, 'unready'],
  [503, 'unready'],
] as const)('the status %i of the service is an error of the kind %s', async (status, kind) => {
  vi.stubGlobal('fetch', async () => new Response('{}', { status, headers: PROBLEM }))
  await expect(request('classes')).rejects.toMatchObject({ kind })
})

it.each([
  ['away', true],
  ['unready', true],
  ['locked', true],
  ['missing', false],
  ['refused', false],
] as const)('an error that is %s may pass: %s', (kind, passes) => {
  expect(mayPass(new ApiError(kind, 'no'))).toBe(passes)
})

it.each([400, 401, 403, 404, 413, 502])('the status %i of a proxy may pass', async (status) => {
  const headers = { 'content-type': 'text/html' }
  vi.stubGlobal('fetch', async () => new Response('<html>', { status, headers }))
  await expect(request('classes')).rejects.toMatchObject({ kind: 'unready' })
})

it.each(['{}', 'null', '{"detail":"sign in"}'])(
  'a ride is not sent where something else responds %s in the service’s place',
  async (body) => {
    vi.stubGlobal('fetch', async () => new Response(body))
    await expect(sendRide([])).rejects.toMatchObject({ kind: 'unready' })
  },
)

it('a history of which no byte arrives for 10 s is like no response', async () => {
  vi.useFakeTimers()
  let stream: ReadableStreamDefaultController<Uint8Array>
  vi.stubGlobal('fetch', async (_: unknown, { signal }: { signal: AbortSignal }) => {
    const start = (controller: typeof stream) => (stream = controller)
    signal.addEventListener('abort', () => stream.error(signal.reason))
    return new Response(new ReadableStream({ start: (controller) => void start(controller) }))
  })
  const loaded = history(1, vi.fn())
  const failed = vi.fn()
  loaded.catch(failed)
  await vi.advanceTimersByTimeAsync(9_900)
  stream!.enqueue(new Uint8Array([0x1f]))
  await vi.advanceTimersByTimeAsync(9_900)
  expect(failed).not.toHaveBeenCalled()
  await vi.advanceTimersByTimeAsync(200)
  vi.useRealTimers()
  await expect(loaded).rejects.toMatchObject({ kind: 'away' })
})

it.each([
  [1, true],
  [300, false],
])('a request with %i seconds of a ride may outlive the page: %s', async (seconds, keepalive) => {
  const fetch = vi.fn(async () => Response.json({ records: seconds, rejected: 0 }))
  vi.stubGlobal('fetch', fetch)
  const record = { uuid: 'u'.repeat(36), event: 'update', name: 'Ж'.repeat(40) } as RideRecord
  await sendRide(Array.from({ length: seconds }, () => record))
  expect(fetch).toHaveBeenCalledWith('rides', expect.objectContaining({ keepalive }))
})
