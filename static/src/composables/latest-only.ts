/**
 * Returns a function that loads, one load at a time. While one is under way, only the latest wish is remembered: then `load`
 * runs once more, and `isStale` says so meanwhile. `load` handles its errors.
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
