/**
 * Returns a function that runs `load`, one run at a time. Calls during a run cause one more run, and `isStale` then
 * returns true. `load` handles its errors.
 */
export function latestOnly(load: (isStale: () => boolean) => Promise<void>): () => Promise<void> {
  let loading = false
  let isStale = false
  return async () => {
    isStale = true
    if (loading) return
    loading = true
    while (isStale) {
      isStale = false
      await load(() => isStale)
    }
    loading = false
  }
}
