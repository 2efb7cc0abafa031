/**
 * Requests to the service. Every function returns the data, or throws an {@link ApiError} whose kind says what to do: retry,
 * ask for a key, or show that there is no such thing. A body that is not JSON, such as a proxy's page, throws another error.
 */
import createClient from 'openapi-fetch'

import type { Dataset } from '../race/dataset'
import { cursorsOf, type Cursors } from './link'
import { ApiError, arrived, request, requestStream } from './request'
import type { components, paths } from './schema'

export type Leaderboard = components['schemas']['Leaderboard']
export type Standing = components['schemas']['Standing']
export type Curve = Omit<components['schemas']['RacerInClass'], 'classId' | 'compared'>
export type Found = components['schemas']['Found']
export type Racer = components['schemas']['Racer']
/** Curves to ride against. */
export type Pace = components['schemas']['Pace']

/** A race that the service saw. */
export type Race = components['schemas']['Race']
/** The standings of a race at each racer's latest second. */
export type RaceBoard = components['schemas']['RaceLeaderboard']
/** New personal bests, as they are pushed. */
export type NewBests = components['schemas']['NewBests']

/** The result of sending a ride. */
export type RideResponse = components['schemas']['Ridden']

/** Telemetry of a ride, as devices send it. */
export interface RideRecord {
  uuid: string
  event: 'update' | 'final'
  deviceTimestamp: number
  second: number
  raceId: number
  /** Only a guest names itself. The service has the names of all others. */
  name?: string
  racerId: number
  classId: number
  cadence: number
  resistance: number
}

const client = createClient<paths, 'application/json'>({
  // The page's own folder: a proxy may serve it below a path.
  baseUrl: new URL('.', document.baseURI).href.replace(/\/$/, ''),
  // Lists are one parameter, separated by commas.
  querySerializer: { array: { style: 'form', explode: false } },
  fetch: (input) => request(input),
})

function data<T>(response: { data?: T }): T {
  if (response.data === undefined) throw new ApiError('unready', 'The response is empty.')
  return response.data
}

type LeaderboardQuery = NonNullable<
  paths['/classes/{classId}/leaderboard']['get']['parameters']['query']
>

/** Returns a page of a board. `timeoutMs` shortens the time of the request. */
export async function leaderboard(
  classId: number,
  query: LeaderboardQuery,
  timeoutMs?: number,
): Promise<Leaderboard> {
  const params = { path: { classId }, query }
  const signal = timeoutMs === undefined ? null : AbortSignal.timeout(timeoutMs)
  return data(await client.GET('/classes/{classId}/leaderboard', { params, signal }))
}

type PaceQuery = NonNullable<paths['/classes/{classId}/pace']['get']['parameters']['query']>

/** Returns curves to ride against, at every second of the class. */
export async function pace(classId: number, query: PaceQuery): Promise<Pace> {
  return data(await client.GET('/classes/{classId}/pace', { params: { path: { classId }, query } }))
}

/** Returns the racer's best at each second; none where the racer never rode in the class. */
export async function curve(classId: number, racerId: number): Promise<Curve> {
  // Asked first, because a 404 would stand as an error on the console.
  const { standings } = await leaderboard(classId, { racers: [racerId] })
  if (standings.length === 0) return { racerId, name: null, seconds: [] }
  const path = { classId, racerId }
  return data(await client.GET('/classes/{classId}/racers/{racerId}', { params: { path } }))
}

/** Returns the racers with a word of their name that begins so. */
export async function search(name: string, signal?: AbortSignal): Promise<Found[]> {
  return data(await client.GET('/racers', { params: { query: { name } }, signal: signal ?? null }))
}

/** Returns a racer of any class; null if nobody rode under that number. */
export async function racer(racerId: number, signal?: AbortSignal): Promise<Racer | null> {
  try {
    const params = { path: { racerId } }
    return data(await client.GET('/racers/{racerId}', { params, signal: signal ?? null }))
  } catch (error) {
    if (error instanceof ApiError && error.kind === 'missing') return null
    throw error
  }
}

/** Returns the class record at every second. */
export async function records(classId: number): Promise<Dataset> {
  return (await (await request(`classes/${classId}/history?top=1`)).json()) as Dataset
}

/** Maximum time of loading the history of a large class, in milliseconds. */
const HISTORY_TIMEOUT_MS = 120_000

/** Maximum time in which no byte of a history arrives, in milliseconds: a rider waits for it at the start. */
const HISTORY_STALL_MS = 10_000

/** Returns the whole history of a class. Calls `onProgress` with the number of compressed bytes that arrived. */
export async function history(
  classId: number,
  onProgress: (bytes: number) => void,
): Promise<Dataset> {
  const stalled = new AbortController()
  const abort = () => stalled.abort()
  let timer = setTimeout(abort, HISTORY_STALL_MS)
  try {
    const signal = AbortSignal.any([AbortSignal.timeout(HISTORY_TIMEOUT_MS), stalled.signal])
    const response = await requestStream(`class-${classId}.gz`, { signal })
    if (!response.body) return {}
    let bytes = 0
    const counted = response.body.pipeThrough(
      new TransformStream<Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>>({
        transform(chunk, controller) {
          clearTimeout(timer)
          timer = setTimeout(abort, HISTORY_STALL_MS)
          onProgress((bytes += chunk.byteLength))
          controller.enqueue(chunk)
        },
      }),
    )
    const plain = counted.pipeThrough(new DecompressionStream('gzip'))
    return await arrived(new Response(plain).json() as Promise<Dataset>)
  } finally {
    clearTimeout(timer)
  }
}

/** A page of the recent races of a class, newest first. */
export interface RacePage extends Cursors {
  races: Race[]
}

export async function racePage(
  classId: number,
  query: { limit?: number; cursor?: string } = {},
): Promise<RacePage> {
  const path = { classId }
  const found = await client.GET('/classes/{classId}/races', { params: { path, query } })
  return { races: data(found), ...cursorsOf(found.response.headers.get('link')) }
}

type RaceBoardQuery = NonNullable<
  paths['/classes/{classId}/races/{raceId}/leaderboard']['get']['parameters']['query']
>

/** Returns a race and a page of its standings. */
export async function raceBoard(
  classId: number,
  raceId: number,
  query: RaceBoardQuery,
): Promise<RaceBoard> {
  const params = { path: { classId, raceId }, query }
  return data(await client.GET('/classes/{classId}/races/{raceId}/leaderboard', { params }))
}

/** Maximum body of a request that may outlive the page, in bytes: browsers allow 64 KiB. */
const KEEPALIVE_BYTES_MAX = 60_000

export async function sendRide(records: readonly RideRecord[]): Promise<RideResponse> {
  const body = JSON.stringify(records)
  const headers = { 'content-type': 'application/json' }
  // In UTF-8 a character of a name has up to three bytes.
  const keepalive = body.length * 3 < KEEPALIVE_BYTES_MAX
  const response = await request('rides', { method: 'POST', headers, body, keepalive })
  const result = (await response.json()) as Partial<RideResponse> | null
  // Something before the service may respond in its place, and the ride is not stored then.
  if (result?.rejected === undefined) throw new ApiError('unready', 'The ride was not confirmed.')
  return result as RideResponse
}
