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
