/** Loads that are tried again after they failed. */
import { watch } from 'vue'

import { ApiError } from '../api/request'
import { reachable, service } from '../state/service'
import { latestOnly } from './latest-only'

/**
 * Loads now, and again until it succeeds. The notice at the top says what is wrong. Returns a function that loads once more.
 */
export function useRetried(load: () => Promise<void>): () => Promise<void> {
  const attempt = latestOnly(() => load().catch(retryAfter))
  const retryAfter = useRetry(attempt)
  void attempt()
  return attempt
}

/**
 * Returns a function that takes the error of a failed load. The next poll that finds the service reachable loads again, if
 * that may succeed. Without that, one lost request would leave a gap for as long as nothing else changes.
 */
export function useRetry(load: () => Promise<void>): (error: unknown) => void {
  let hasFailed = false
  watch(
    () => service.now,
    () => {
      if (!hasFailed || !reachable.value) return
      hasFailed = false
      void load()
    },
  )
  return (error) => {
    hasFailed ||= mayRetry(error)
  }
}

/** Returns whether the same load may succeed later. A locked service is not reachable until it has the key. */
export function mayRetry(error: unknown): boolean {
  return !(error instanceof ApiError) || error.canRetry || error.kind === 'locked'
}
