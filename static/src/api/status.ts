/**
 * The state of the service and its classes. Apart from the other requests, because every view needs it: it is in the first
 * script, and the typed client is not.
 */
import { ApiError, request } from './request'
import type { components } from './schema'

export type ClassSummary = components['schemas']['Class']

export async function classes(): Promise<ClassSummary[]> {
  return (await (await request('classes')).json()) as ClassSummary[]
}

/** Returns null if the service is ready, otherwise the reason. */
export async function unreadiness(): Promise<string | null> {
  try {
    await request('readyz')
    return null
  } catch (error) {
    return error instanceof ApiError && error.kind === 'away' ? 'away' : 'starting'
  }
}
