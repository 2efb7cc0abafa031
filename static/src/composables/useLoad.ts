/** Loads that are tried again after they failed. */
import { watch, type Ref } from 'vue'

import { mayPass } from '../api/request'
import { boardState, reachable, service } from '../state/service'
import { latestOnly } from './latest-only'

/** Maximum number of polls between two tries: 24 s. More would keep a gap for long after the service has recovered. */
const RETRY_POLLS_MAX = 8

/**
 * Loads now, and again after a failure that may pass. The notice at the top says what is wrong. Returns a function that loads
 * once more.
 */
export function useLoad(load: () => Promise<void>): () => Promise<void> {
  const attempt = useRetriedLoad((_, retryLater) => load().catch(retryLater))
  void attempt()
  return attempt
}

/**
 * Returns a function that runs `load` as `latestOnly` does, and again after polls where `load` calls `retryLater` with an error
 * that may pass.
 */
export function useRetriedLoad(
  load: (isStale: () => boolean, retryLater: (error: unknown) => void) => Promise<void>,
): () => Promise<void> {
  const attempt = latestOnly(async (isStale) => {
    let isWanted = false
    await load(isStale, (error) => {
      isWanted ||= mayPass(error)
    })
    setRetry(isWanted)
  })
  const setRetry = useRetry(attempt, attempt.isRunning)
  return attempt
}

/**
 * Loads now, and again whenever the boards of the class have changed, or `other`. It is one watch: a poll that changes both
 * causes one load.
 */
export function useUpToDate(
  classId: number,
  load: () => Promise<void>,
  other?: Readonly<Ref<unknown>>,
): void {
  const reload = useLoad(load)
  watch([() => boardState(classId), () => other?.value], (_, [before]) => {
    // The first state that the page gets is the one that is loaded already.
    if (before !== undefined) void reload()
  })
}

/**
 * Returns a function that says whether the next poll loads again, if the service is reachable: true after a load that failed in
 * a way that may pass, false where nothing is to be retried any more. The number of polls between two tries doubles with each
 * one that fails: the service may be overloaded. Without a retry, one lost request would leave a gap for as long as nothing else
 * changes. No retry begins while `isRunning` returns true: the same poll may have begun a load because the class has changed.
 */
export function useRetry(
  load: () => Promise<void>,
  isRunning: () => boolean = () => false,
): (isWanted: boolean) => void {
  let isWanted = false
  let retryPolls = 1
  let pollsLeft = retryPolls
  watch(
    () => service.now,
    async () => {
      if (!isWanted || !reachable.value || isRunning() || --pollsLeft > 0) return
      const lastPolls = retryPolls
      isWanted = false
      await load()
      pollsLeft = retryPolls = isWanted ? Math.min(lastPolls * 2, RETRY_POLLS_MAX) : 1
    },
    // Called after the watchers of the same poll, which may begin loads.
    { flush: 'post' },
  )
  return (value) => {
    isWanted = value
    if (!value) pollsLeft = retryPolls = 1
  }
}
