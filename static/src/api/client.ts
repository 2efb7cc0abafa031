/**
 * The service, as the page sees it. Every call answers what was asked for, or throws an {@link ApiError} that says whether
 * the service is away, not ready, wants a key, or has no such thing.
 */
import createClient from 'openapi-fetch'

import type { Dataset } from '../race/dataset'
import { queryKey } from './key'
import type { components, paths } from './schema'

export type ClassSummary = components['schemas']['Class']
export type Leaderboard = components['schemas']['Leaderboard']
export type Standing = components['schemas']['Standing']
export type Curve = Omit<components['schemas']['RacerInClass'], 'classId' | 'compared'>
export type Found = components['schemas']['Found']

/** A race that the service saw. */
export type Race = components['schemas']['Race']
/** The standings of a race at each racer's latest second. */
export type RaceBoard = components['schemas']['RaceLeaderboard']
/** New personal bests, as they are pushed. */
export type NewBests = components['schemas']['NewBests']
export type NewBest = components['schemas']['NewBest']

/** Telemetry of a ride, as devices send it. */
export interface RideRecord {
  uuid: string
  event: 'update' | 'final'
  deviceTimestamp: number
  second: number
  raceId: number
  name: string
  racerId: number
  classId: number
  cadence: number
  resistance: number
}

/** Why a call failed. `away`: nobody answered; `unready`: it is starting, stopping or overloaded; `locked`: it wants a key. */
export class ApiError extends Error {
  constructor(
    readonly kind: 'away' | 'unready' | 'locked' | 'missing' | 'refused',
    message: string,
  ) {
    super(message)
  }
}

/** How long an answer may take, in milliseconds. The history of a large class has longer. */
const PATIENCE_MS = 10_000
const HISTORY_PATIENCE_MS = 120_000

/** Asks, with the key where there is one. Whoever brings a signal has patience of their own. */
export async function ask(
  input: RequestInfo | URL,
  init?: RequestInit,
  patienceMs = PATIENCE_MS,
): Promise<Response> {
  const headers = new Headers(
    init?.headers ?? (input instanceof Request ? input.headers : undefined),
  )
  if (queryKey.value !== null) headers.set('authorization', `Bearer ${queryKey.value}`)
  let response: Response
  try {
    response = await fetch(input, {
      ...init,
      headers,
      signal: init?.signal ?? AbortSignal.timeout(patienceMs),
    })
  } catch {
    throw new ApiError('away', 'The service does not answer.')
  }
  if (response.ok) return response
  const problem = (await response.json().catch(() => null)) as { detail?: string } | null
  const detail = problem?.detail ?? `The service answered ${response.status}.`
  if (response.status === 401) throw new ApiError('locked', detail)
  if (response.status === 404) throw new ApiError('missing', detail)
  throw new ApiError(response.status >= 500 ? 'unready' : 'refused', detail)
}

const client = createClient<paths, 'application/json'>({
  baseUrl: location.origin,
  // Lists are one parameter, separated by commas.
  querySerializer: { array: { style: 'form', explode: false } },
  fetch: (request) => ask(request),
})

function data<T>(answer: { data?: T }): T {
  if (answer.data === undefined) throw new ApiError('refused', 'The service answered with nothing.')
  return answer.data
}

export async function classes(): Promise<ClassSummary[]> {
  return data(await client.GET('/classes'))
}

type LeaderboardQuery = NonNullable<
  paths['/classes/{classId}/leaderboard']['get']['parameters']['query']
>

export async function leaderboard(classId: number, query: LeaderboardQuery): Promise<Leaderboard> {
  return data(
    await client.GET('/classes/{classId}/leaderboard', { params: { path: { classId }, query } }),
  )
}

/** That racer second by second; without any where the racer never rode in the class. */
export async function curve(classId: number, racerId: number): Promise<Curve> {
  // Asked first, so that one who never rode is no error.
  const { standings } = await leaderboard(classId, { racers: [racerId] })
  if (standings.length === 0) return { racerId, name: null, seconds: [] }
  return data(
    await client.GET('/classes/{classId}/racers/{racerId}', {
      params: { path: { classId, racerId } },
    }),
  )
}

export async function search(name: string): Promise<Found[]> {
  return data(await client.GET('/racers', { params: { query: { name } } }))
}

/** The class record at every second. */
export async function records(classId: number): Promise<Dataset> {
  return (await (await ask(`/classes/${classId}/history?top=1`)).json()) as Dataset
}

/** The whole history of a class. `onProgress` is told the bytes that have arrived, compressed. */
export async function history(
  classId: number,
  onProgress: (bytes: number) => void,
): Promise<Dataset> {
  const response = await ask(`/class-${classId}.gz`, {}, HISTORY_PATIENCE_MS)
  if (!response.body) return {}
  let bytes = 0
  const counted = response.body.pipeThrough(
    new TransformStream<Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>>({
      transform(chunk, controller) {
        onProgress((bytes += chunk.byteLength))
        controller.enqueue(chunk)
      },
    }),
  )
  return (await new Response(
    counted.pipeThrough(new DecompressionStream('gzip')),
  ).json()) as Dataset
}

export async function races(classId: number): Promise<Race[]> {
  return data(await client.GET('/classes/{classId}/races', { params: { path: { classId } } }))
}

export async function raceBoard(classId: number, raceId: number): Promise<RaceBoard> {
  const path = { classId, raceId }
  return data(
    await client.GET('/classes/{classId}/races/{raceId}/leaderboard', { params: { path } }),
  )
}

export async function sendRide(records: RideRecord[]): Promise<void> {
  await ask('/rides', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(records),
  })
}

/** Null where the service is ready, else why it is not. */
export async function unreadiness(): Promise<string | null> {
  try {
    await ask('/readyz')
    return null
  } catch (error) {
    return error instanceof ApiError && error.kind === 'away' ? 'away' : 'starting'
  }
}
