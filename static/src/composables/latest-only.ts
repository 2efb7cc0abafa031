import { onScopeDispose } from 'vue'

interface LatestOnly {
  (): Promise<void>
  /** Waits for the run that is under way, or else begins one. */
  join(): Promise<void>
}

/**
 * Returns a function that runs `load`, one run at a time, while the scope lasts. Calls during a run cause one more run, and end
 * with it. `isStale` returns true after such a call, and after the scope's end. `load` handles its errors.
 */
export function latestOnly(load: (isStale: () => boolean) => Promise<void>): LatestOnly {
  let runs: Promise<void> | null = null
  let isStale = false
  let isGone = false
  // A throttled call may come later.
  onScopeDispose(() => {
    isGone = true
  })

  async function run(): Promise<void> {
    while (isStale && !isGone) {
      isStale = false
      await load(() => isStale || isGone)
    }
    runs = null
  }

  function call(): Promise<void> {
    isStale = true
    return (runs ??= run())
  }
  return Object.assign(call, { join: () => runs ?? call() })
}
