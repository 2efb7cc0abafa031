/**
 * The state of the service and its classes. Apart from the other requests, because every view needs it: it is in the first
 * script, and the typed client is not.
 */
import { ApiError, request } from './request'
import type { components } from './schema'

export type ClassSummary = components['schemas']['Class']

/** Returns the classes, and the time of the response in milliseconds since 1970; null where it names none. */
export async function classes(): Promise<{ classes: ClassSummary[]; time: number | null }> {
  const response = await request('classes')
  const time = Date.parse(response.headers.get('date') ?? '')
  const found = (await response.json()) as ClassSummary[]
  // Something before the service may respond in its place.
  if (!Array.isArray(found)) throw new ApiError('unready', 'The response has no classes.')
  return { classes: found, time: Number.isNaN(time) ? null : time }
}

/** Whether the service says that it is ready. */
export async function isReady(): Promise<boolean> {
  try {
    await request('readyz')
    return true
  } catch (error) {
    if (error instanceof ApiError && error.kind !== 'away') return false
    throw error
  }
}
