import { onScopeDispose } from 'vue'

interface LatestOnly {
  (): Promise<void>
  isRunning(): boolean
}

/**
 * Returns a function that runs `load`, one run at a time, while the scope lasts. Calls during a run cause one more run.
 * `isStale` returns true after such a call, and after the scope's end. `load` handles its errors.
 */
export function latestOnly(load: (isStale: () => boolean) => Promise<void>): LatestOnly {
  let loading = false
  let isStale = false
  let isGone = false
  // A throttled call may come later.
  onScopeDispose(() => {
    isGone = true
  })
  async function call(): Promise<void> {
    isStale = true
    if (loading) return
    loading = true
    while (isStale && !isGone) {
      isStale = false
      await load(() => isStale || isGone)
    }
    loading = false
  }
  return Object.assign(call, { isRunning: () => loading })
}
