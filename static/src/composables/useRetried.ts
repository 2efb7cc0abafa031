/** Loads that are tried again when the service is back. */
import { watch } from 'vue'

import { reachable } from '../state/service'

/** Loads now, and again each time the service is back, until it succeeds. The notice at the top says what is wrong. */
export function useRetried(load: () => Promise<void>): void {
  const attempt = () => load().then(stop, () => {})
  const stop = whenBack(() => void attempt())
  void attempt()
}

/** Calls back each time the service is back. Returns a function that ends this. */
export function whenBack(callback: () => void): () => void {
  return watch(reachable, (isReachable) => {
    if (isReachable) callback()
  })
}
