/** Loads that are tried again when the service is back. */
import { watch } from 'vue'

import { reachable } from '../state/service'
import { latestOnly } from './latest-only'

/** Loads now, and again each time the service is back, until it succeeds. The notice at the top says what is wrong. */
export function useRetried(load: () => Promise<void>): void {
  let isLoaded = false
  // One at a time: when the page is opened, the service becomes reachable during the first load.
  const attempt = latestOnly(async () => {
    if (isLoaded) return
    isLoaded = await load().then(
      () => true,
      () => false,
    )
  })
  retryWhenBack(attempt, () => !isLoaded)
  void attempt()
}

/** Loads again each time the service is back, if what was loaded last failed. */
export function retryWhenBack(load: () => Promise<void>, hasFailed: () => boolean): void {
  watch(reachable, (isReachable) => {
    if (isReachable && hasFailed()) void load()
  })
}
